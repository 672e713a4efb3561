"""What the service says of itself, made once at its start."""

from msgspec import Struct


class Documentation(Struct, frozen=True):
    """The OpenAPI document as JSON, and the page for readers as HTML."""

    openapi: bytes
    page: bytes
