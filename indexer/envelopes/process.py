"""Runs the verification of envelopes in a process of its own.

It would hold the interpreter's lock for a third of the time at a thousand transactions a second,
and the daemon and its API would wait. The process gets blocks through a pipe, one after the other,
and ends when the pipe is closed, also because the daemon was killed. Its priority is low.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import BinaryIO, Final, Protocol

from indexer.envelopes.messages import (
    LENGTH,
    Reply,
    Request,
    answer,
    read_reply,
    read_request,
    write,
)
from indexer.envelopes.verifier import EnvelopeVerifier

_NICE: Final = 5
_COMPLETE, _INCOMPLETE = "complete", "incomplete"


class Verifier(Protocol):
    """Something that verifies the envelopes of blocks."""

    async def ask(self, request: Request) -> Reply:
        """Return the reply to a request. Raises `VerifierEndedError` if it is gone."""


class VerifierEndedError(Exception):
    """The process that verifies envelopes has ended."""


class VerifierProcess:
    """A running process that verifies envelopes."""

    def __init__(self, sink: asyncio.StreamWriter, source: asyncio.StreamReader) -> None:
        self._sink, self._source = sink, source

    async def ask(self, request: Request) -> Reply:
        """Return the reply to a request. Raises `VerifierEndedError` if the process is gone."""
        try:
            self._sink.write(write(request))
            await self._sink.drain()
            (size,) = LENGTH.unpack(await self._source.readexactly(LENGTH.size))
            return read_reply(await self._source.readexactly(size))
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise VerifierEndedError("the process that verifies envelopes has ended") from error


@asynccontextmanager
async def verifier_process(*, complete: bool) -> AsyncGenerator[VerifierProcess, None]:
    """Start a process for the blocks from block 0 on, or from a later one; kill it at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, _COMPLETE if complete else _INCOMPLETE),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        if process.stdin is not None and process.stdout is not None:
            yield VerifierProcess(process.stdin, process.stdout)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def serve(source: BinaryIO, sink: BinaryIO, verifier: EnvelopeVerifier) -> None:
    """Answer the requests of a pipe until it is closed."""
    while len(length := source.read(LENGTH.size)) == LENGTH.size:
        content = source.read(*LENGTH.unpack(length))
        sink.write(write(answer(verifier, read_request(content))))
        sink.flush()


def main() -> None:
    """Serve the daemon that started this process, which alone gets the signals of a terminal."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICE)
    complete = sys.argv[1:] == [_COMPLETE]
    serve(sys.stdin.buffer, sys.stdout.buffer, EnvelopeVerifier(complete=complete))


if __name__ == "__main__":
    main()
