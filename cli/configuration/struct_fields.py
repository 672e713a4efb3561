"""Sections of the configuration whose keys are the fields of a msgspec Struct."""

from typing import Any

import msgspec
from msgspec import Struct
from pydantic import GetCoreSchemaHandler, create_model
from pydantic_core import CoreSchema, core_schema

from cli.configuration.section import Name, Section

_NAME_TYPES: dict[Any, Any] = {str: Name, str | None: Name | None}


class StructFields:
    """An annotation: the value is configured as a section with the fields of the annotated Struct.

    The fields are texts that must not be empty. Errors name the key as in every other section.
    """

    def __get_pydantic_core_schema__(
        self, struct: type[Struct], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return a schema that validates the section and builds the Struct from it."""

        def new_struct(section: Section) -> Struct:
            return struct(**dict(section))

        return core_schema.no_info_after_validator_function(
            new_struct,
            handler.generate_schema(_section_of(struct)),
            serialization=core_schema.plain_serializer_function_ser_schema(msgspec.structs.asdict),
        )


def _section_of(struct: type[Struct]) -> type[Section]:
    """Return a section with the names and defaults of the struct's fields."""
    fields: dict[str, Any] = {
        field.name: (_NAME_TYPES[field.type], ... if field.required else field.default)
        for field in msgspec.structs.fields(struct)
    }
    return create_model(struct.__name__, __base__=Section, **fields)
