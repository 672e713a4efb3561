"""Chooses the encoder of blocks for this process."""

import os
from typing import Final

from ledger.block_encoder import BlockEncoder, PythonEncoder

PURE_VARIABLE: Final = "KINDLEDGER_PURE"
"""The environment variable that, set to 1, chooses the encoder in Python."""


def new_encoder() -> BlockEncoder:
    """Return a compiled encoder, or the one in Python if the extension is not installed.

    The environment variable `PURE_VARIABLE` can choose the one in Python.
    """
    if os.environ.get(PURE_VARIABLE, "0") != "0":
        return PythonEncoder()
    try:
        from ledger.compiled.encoder import CompiledEncoder  # noqa: PLC0415 - may be absent
    except ImportError:
        return PythonEncoder()
    return CompiledEncoder()
