"""Encodes the bodies of responses."""

from typing import Any

import msgspec


def encode_json(body: Any) -> bytes:
    """Return the body as JSON; a BSON `Int64` becomes a plain integer."""
    return msgspec.json.encode(body, enc_hook=int)
