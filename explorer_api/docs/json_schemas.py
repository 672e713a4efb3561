"""JSON Schemas of the types of response bodies."""

import inspect
from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct
from msgspec import inspect as type_info

Json = dict[str, Any]

REFERENCE: Final = "#/components/schemas/"


def json_schemas(body_types: Iterable[Any]) -> tuple[dict[Any, Json], dict[str, Json]]:
    """Return the schema of each type, and by name the schemas of all structures in the types.

    The schema of a union allows each of its types. All fields are required, since the API never
    leaves a field out. Times get the format `date-time`, which msgspec leaves out.
    """
    types = tuple(dict.fromkeys(body_types))
    members = tuple(dict.fromkeys(member for type_ in types for member in _union_members(type_)))
    references, components = msgspec.json.schema_components(
        members, ref_template=f"{REFERENCE}{{name}}"
    )
    for structure in _structures(type_info.multi_type_info(members)):
        schema = components[structure.cls.__name__]
        schema["description"] = _description(structure)
        schema["required"] = list(schema["properties"])
        for field in structure.fields:
            _mark_times(schema["properties"][field.encode_name], field.type)
            schema["properties"][field.encode_name].pop("default", None)
    schemas = dict(zip(members, references, strict=True))
    for type_ in types:
        if type_ not in schemas:
            schemas[type_] = {"anyOf": [schemas[member] for member in get_args(type_)]}
    return schemas, components


def prose(docstring: str) -> str:
    """Return the paragraphs of a docstring, each in one line."""
    return "\n\n".join(
        " ".join(paragraph.split()) for paragraph in inspect.cleandoc(docstring).split("\n\n")
    )


def _union_members(type_: Any) -> tuple[Any, ...]:
    return get_args(type_) if isinstance(type_, UnionType) else (type_,)


def _description(structure: type_info.StructType) -> str:
    """Return the structure's docstring, with the names that the fields have in JSON."""
    text = prose(structure.cls.__doc__ or "")
    for field in structure.fields:
        text = text.replace(f"`{field.name}`", f"`{field.encode_name}`")
    return text


def _structures(types: Iterable[type_info.Type]) -> Iterator[type_info.StructType]:
    """Yield every structure in the types, each of them once."""
    seen: set[type[Struct]] = set()
    waiting = list(types)
    while waiting:
        type_ = waiting.pop()
        if isinstance(type_, type_info.StructType):
            if type_.cls not in seen:
                seen.add(type_.cls)
                waiting += [field.type for field in type_.fields]
                yield type_
        elif isinstance(type_, type_info.UnionType):
            waiting += type_.types
        elif isinstance(type_, type_info.CollectionType):
            waiting.append(type_.item_type)
        elif isinstance(type_, type_info.DictType):
            waiting.append(type_.value_type)


def _mark_times(schema: Json, field_type: type_info.Type) -> None:
    """Add the format of times to the schema of a field."""
    if isinstance(field_type, type_info.DateTimeType):
        schema["format"] = "date-time"
    elif isinstance(field_type, type_info.UnionType) and any(
        isinstance(member, type_info.DateTimeType) for member in field_type.types
    ):
        for option in schema["anyOf"]:
            if option == {"type": "string"}:
                option["format"] = "date-time"
