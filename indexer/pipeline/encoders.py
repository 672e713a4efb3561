"""Chooses the encoder of blocks for this process."""

import os
from typing import Final

from indexer.pipeline.encoder_process import EncoderProcess
from ledger.block_encoder import BlockEncoder, PythonEncoder

PURE_VARIABLE: Final = "KINDLEDGER_PURE"
"""The environment variable that, set to 1, chooses the encoder in Python."""


def new_encoder() -> BlockEncoder:
    """Return a compiled encoder, or the one in Python if the extension is not installed.

    The environment variable `PURE_VARIABLE` can choose the one in Python. It gets a process of its
    own if there is a second processor for it.
    """
    if os.environ.get(PURE_VARIABLE, "0") == "0":
        try:
            from ledger.compiled.encoder import CompiledEncoder  # noqa: PLC0415 - may be absent
        except ImportError:
            pass
        else:
            return CompiledEncoder()
    return EncoderProcess() if len(os.sched_getaffinity(0)) > 1 else PythonEncoder()
