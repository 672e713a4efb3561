"""The encoder in Python in a process of its own: the same documents, whatever happens to it."""

import asyncio
import os
import signal
import sys
from itertools import islice
from pathlib import Path

from structlog.testing import capture_logs

from devnet.forge.forger import Recipe, forge
from indexer.pipeline.encoder_process import EncoderProcess
from ledger.block_encoder import BlockEncoder, PythonEncoder
from ledger.documents.encoding import EncodedBlock
from tests.eventually import eventually
from tests.ledger.encoders import facts

RECIPE = Recipe(seed=3, bulk=True, transactions_per_block=40, signed=False)
BLOCKS = [block.data for block in islice(forge(RECIPE), 18)]
SMALL, LARGE = BLOCKS[0], BLOCKS[10:]


def encode(encoder: BlockEncoder, raw: bytes) -> EncodedBlock:
    """Return the documents of a block, every second envelope of which owns its id."""
    block = encoder.claims(encoder.read(raw))
    return encoder.encode(block, [index % 2 == 0 for index in range(len(block.claims))], b"digest")


EXPECTED = [facts(encode(PythonEncoder(), raw)) for raw in LARGE]


def children(parent: int) -> set[int]:
    """Return the ids of the processes that a process has started and that have not ended."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return {pid for pid in pids if parent_of(pid) == parent}


def parent_of(pid: int) -> int | None:
    """Return the id of a process's parent; None if the process has ended."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(parent)


async def test_the_process_gives_the_same_documents_and_ends_with_its_encoder() -> None:
    before = children(os.getpid())
    encoder = EncoderProcess()
    encode(encoder, SMALL)
    assert children(os.getpid()) == before, "a small block starts no process"
    assert [facts(encode(encoder, raw)) for raw in LARGE] == EXPECTED
    (pid,) = children(os.getpid()) - before
    del encoder
    assert parent_of(pid) is None


async def test_if_the_process_is_killed_the_daemon_encodes_and_says_so() -> None:
    before = children(os.getpid())
    encoder = EncoderProcess()
    assert facts(encode(encoder, LARGE[0])) == EXPECTED[0]
    (pid,) = children(os.getpid()) - before
    os.kill(pid, signal.SIGKILL)
    with capture_logs() as logs:
        assert [facts(encode(encoder, raw)) for raw in LARGE] == EXPECTED
    assert [each["event"] for each in logs] == ["encoder_process_ended"]


async def test_the_process_ends_when_the_daemon_is_killed() -> None:
    program = (
        "from tests.indexer.test_encoder_process import *\n"
        "encoder = EncoderProcess()\n"
        "encode(encoder, LARGE[0])\n"
        "print(*children(os.getpid()), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await daemon.communicate()
    pid = int(output)

    async def parent() -> int | None:
        return parent_of(pid)

    await eventually(parent, lambda it: it is None, within_s=20, describe="the process's end")
