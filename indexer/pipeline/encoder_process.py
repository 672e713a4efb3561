"""Encodes large blocks in a process of its own, with the encoder in Python.

That encoder holds the interpreter's lock for most of the time in which blocks are indexed. In a
process of its own it uses another processor, while the daemon receives, checks and stores blocks.
The process gets one block after the other through a pipe, and ends when the pipe is closed, also
because the daemon was killed.
"""

import pickle
import subprocess
import sys
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, BinaryIO, Final, cast

import structlog

from ledger.block_encoder import ClaimedBlock, PythonEncoder
from ledger.documents.digests import NO_DIGEST
from ledger.documents.encoding import EncodedBlock
from runtime.child_process import ignore_stop_signals, module_command
from runtime.process import tune_process

log = structlog.get_logger()

_LARGE_BYTES: Final = 64 << 10
"""The size of blocks from which on they are encoded in the process."""


class EncoderProcess(PythonEncoder):
    """Makes documents with the readable decoder, those of large blocks in another process.

    The process starts with the first large block. If it ends, for example because the system has
    no memory left for it, all further blocks are encoded in this process.
    """

    def __init__(self) -> None:
        self._pipe: _Pipe | None = None
        self._ended = False

    def encode(
        self, block: ClaimedBlock, owns: Sequence[bool], previous_digest: bytes = NO_DIGEST
    ) -> EncodedBlock:
        """Return the block's documents."""
        if block.undecoded.size >= _LARGE_BYTES and not self._ended:
            try:
                self._pipe = self._pipe or _Pipe()
                return self._pipe.encode(block, owns, previous_digest)
            except (EOFError, OSError, pickle.UnpicklingError) as error:
                self._ended = True
                log.warning(
                    "encoder_process_ended",
                    error=repr(error),
                    effect="blocks are encoded in the daemon's own process, which is slower",
                )
        return super().encode(block, owns, previous_digest)


class _Pipe:
    """A process that encodes blocks; it ends with this object."""

    def __init__(self) -> None:
        command, environment = module_command(__name__)
        process = subprocess.Popen(  # noqa: S603 - our own module
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        weakref.finalize(self, _end, process)
        self._requests, self._replies = (
            cast("IO[bytes]", process.stdin),
            cast("IO[bytes]", process.stdout),
        )

    def encode(
        self, block: ClaimedBlock, owns: Sequence[bool], previous_digest: bytes
    ) -> EncodedBlock:
        """Return the block's documents.

        Raises `EOFError`, `OSError` or `UnpicklingError` if the process has ended.
        """
        pickle.dump((block, owns, previous_digest), self._requests)
        self._requests.flush()
        encoded: EncodedBlock = pickle.load(self._replies)  # noqa: S301 - from our own process
        return encoded


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def _serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests until the pipe is closed."""
    encoder = PythonEncoder()
    with suppress(EOFError):
        while True:
            arguments = pickle.load(requests)  # noqa: S301 - from the daemon
            pickle.dump(encoder.encode(*arguments), replies)
            replies.flush()


if __name__ == "__main__":
    ignore_stop_signals()
    tune_process()
    _serve(sys.stdin.buffer, sys.stdout.buffer)
