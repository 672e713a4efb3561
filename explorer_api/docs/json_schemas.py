"""JSON Schemas of the types that the API answers with, as clients see them."""

import inspect
from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct
from msgspec import inspect as shapes

Json = dict[str, Any]

REFERENCE: Final = "#/components/schemas/"


def schemas(types: Iterable[Any]) -> tuple[dict[Any, Json], dict[str, Json]]:
    """The schema of each type, and of every structure in them by its name.

    A union stands for any of its types. Fields are never left out, so all are required. Times are RFC 3339, which
    msgspec does not say of them.
    """
    asked = tuple(dict.fromkeys(types))
    kinds = tuple(dict.fromkeys(kind for type_ in asked for kind in _members(type_)))
    references, components = msgspec.json.schema_components(
        kinds, ref_template=f"{REFERENCE}{{name}}"
    )
    for structure in _structures(shapes.multi_type_info(kinds)):
        schema = components[structure.cls.__name__]
        schema["description"] = _description(structure)
        schema["required"] = list(schema["properties"])
        for field in structure.fields:
            _tell_times(schema["properties"][field.encode_name], field.type)
            schema["properties"][field.encode_name].pop("default", None)
    found = dict(zip(kinds, references, strict=True))
    return {
        type_: found[type_] if type_ in found else {"anyOf": [found[k] for k in get_args(type_)]}
        for type_ in asked
    }, components


def _members(type_: Any) -> tuple[Any, ...]:
    return get_args(type_) if isinstance(type_, UnionType) else (type_,)


def prose(docstring: str) -> str:
    """A docstring's paragraphs, each in one line."""
    return "\n\n".join(
        " ".join(paragraph.split()) for paragraph in inspect.cleandoc(docstring).split("\n\n")
    )


def _description(structure: shapes.StructType) -> str:
    """The structure's docstring, with the names that its fields have for clients."""
    text = prose(structure.cls.__doc__ or "")
    for field in structure.fields:
        text = text.replace(f"`{field.name}`", f"`{field.encode_name}`")
    return text


def _structures(kinds: Iterable[shapes.Type]) -> Iterator[shapes.StructType]:
    """Every structure in the types, each once."""
    seen: set[type[Struct]] = set()
    waiting = list(kinds)
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, shapes.StructType):
            if kind.cls not in seen:
                seen.add(kind.cls)
                waiting += [field.type for field in kind.fields]
                yield kind
        elif isinstance(kind, shapes.UnionType):
            waiting += kind.types
        elif isinstance(kind, shapes.CollectionType):
            waiting.append(kind.item_type)
        elif isinstance(kind, shapes.DictType):
            waiting.append(kind.value_type)


def _tell_times(schema: Json, kind: shapes.Type) -> None:
    if isinstance(kind, shapes.DateTimeType):
        schema["format"] = "date-time"
    elif isinstance(kind, shapes.UnionType) and any(
        isinstance(one, shapes.DateTimeType) for one in kind.types
    ):
        for option in schema["anyOf"]:
            if option == {"type": "string"}:
                option["format"] = "date-time"
