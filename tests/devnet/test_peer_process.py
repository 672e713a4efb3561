"""The peer in a separate process, as the demo and the benchmarks start it."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner

from devnet.peer import Ledger
from devnet.peer.__main__ import main
from tests.block_files import write_block_files
from tests.devnet.deliver_client import (
    BLOCKS,
    CHANNEL,
    Call,
    Seek,
    at,
    outline,
    read,
)
from tests.eventually import LIMIT_S


def test_a_folder_without_a_complete_ledger_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no NNNNNN\.block file"):
        Ledger.from_folder(tmp_path)
    folder = write_block_files(tmp_path, BLOCKS[:3])
    (folder / "000001.block").unlink()
    with pytest.raises(ValueError, match="blocks 0 to 2, but not block 1"):
        Ledger.from_folder(folder)
    (folder / "2.block").touch()
    with pytest.raises(ValueError, match="the same block"):
        Ledger.from_folder(folder)
    (folder / "1a.block").touch()
    with pytest.raises(ValueError, match=r"1a\.block is not named"):
        Ledger.from_folder(folder)


@asynccontextmanager
async def peer_process(*arguments: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
    command = (sys.executable, "-m", "devnet.peer", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line(process: asyncio.subprocess.Process) -> dict[str, float]:
    assert process.stdout is not None
    parsed: dict[str, float] = json.loads(
        await asyncio.wait_for(process.stdout.readline(), LIMIT_S)
    )
    return parsed


async def test_the_process_serves_a_folder_and_releases_its_last_blocks_live(
    tmp_path: Path,
) -> None:
    folder = write_block_files(tmp_path / "blocks", BLOCKS[2:], first=2)
    live = ("--live-from", "7", "--live-rate", "20", "--announce")
    secure = ("--tls-dir", tmp_path / "tls", "--mutual-tls")
    async with peer_process(folder, "--channel", CHANNEL, *live, *secure) as process:
        ready = await line(process)
        assert (ready["first"], ready["height"]) == (2, 7)
        material = {path.name: path.read_bytes() for path in (tmp_path / "tls").iterdir()}
        assert (tmp_path / "tls" / "client.key").stat().st_mode & 0o077 == 0
        credentials = grpc.ssl_channel_credentials(
            material["ca.pem"], material["client.key"], material["client.pem"]
        )
        async with grpc.aio.secure_channel(f"localhost:{ready['port']}", credentials) as channel:
            call: Call = channel.stream_stream("/protos.Deliver/Deliver")()
            await call.write(Seek(at(2), at(9), tls_certificate=material["client.pem"]).envelope())
            responses = [(await read(call), time.time()) for _ in range(9)]
        assert outline([response for response, _ in responses]) == [2, 3, 4, 5, 6, 7, 8, 9, "200"]
        released = [await line(process) for _ in range(3)]
        assert [release["block"] for release in released] == [7, 8, 9]
        latencies = [
            seen - release["released"]
            for (_, seen), release in zip(responses[5:], released, strict=False)
        ]
        assert all(0 <= latency < LIMIT_S for latency in latencies)
        assert released[2]["released"] - released[0]["released"] > 0.09, "two periods of 50 ms"
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), LIMIT_S) == 0


async def test_the_process_ends_when_its_parent_dies(tmp_path: Path) -> None:
    child = [
        sys.executable,
        "-m",
        "devnet.peer",
        str(write_block_files(tmp_path, BLOCKS)),
        "--channel",
        CHANNEL,
    ]
    code = f"import subprocess; subprocess.run({child!r})"
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        await line(parent)
        parent.kill()
        assert parent.stdout is not None
        rest = await asyncio.wait_for(parent.stdout.read(), LIMIT_S)
        assert rest == b"", "the pipe closes when the peer, which inherited it, has ended"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
        await parent.wait()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--live-from", "3"], "need each other"),
        (["--mutual-tls"], "needs --tls-dir"),
        (["--live-from", "11", "--live-rate", "1"], "the blocks of the folder: 0 to 9"),
    ],
)
def test_the_command_refuses_contradicting_options(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = CliRunner().invoke(
        main, [str(write_block_files(tmp_path, BLOCKS)), "--channel", CHANNEL, *arguments]
    )
    assert (result.exit_code, message in result.output) == (2, True)
