"""Measures the time from the release of a block by a peer until the API shows the block."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
from pymongo import AsyncMongoClient

from benchmarks.processes import peer_process
from cli.assembly.channel import new_progress
from cli.version import VERSION
from explorer_api.app import create_app, serve
from indexer.pipeline.channel_indexer import ChannelIndexer
from indexer.sources.peer_source import Endpoint, PeerSource
from ledger.mongodb.raw_block_archive import MongoArchive
from ledger.mongodb.store import LedgerStore
from ledger.signing import load_signing_identity

_DATABASE = "bench_latency"
_POLL_S = 0.001


async def delivered_to_visible(
    folder: Path,
    work: Path,
    uri: str,
    channel: str,
    *,
    live_from: int,
    live_blocks: int,
    rate: float,
) -> list[float]:
    """Return the milliseconds for each live block, from its release to the first API response.

    Indexer and API share this process, as with `kindledger run --with-api`. The polling of the API
    is part of the measured load.
    """
    live = ("--live-from", str(live_from), "--live-rate", str(rate), "--announce")
    async with peer_process(folder, channel, work / "tls", *live) as peer:
        endpoint = Endpoint(
            f"localhost:{peer.port}",
            tls_ca=work / "tls" / "ca.pem",
            client_certificate=work / "tls" / "client.pem",
            client_key=work / "tls" / "client.key",
        )
        identity = work / "identity"
        source = PeerSource(
            endpoint,
            channel,
            lambda: load_signing_identity("Org1MSP", identity / "cert.pem", identity / "key.pem"),
        )
        async with AsyncMongoClient[dict[str, Any]](uri, tz_aware=True) as client:
            await client.drop_database(_DATABASE)
            store = LedgerStore(client, _DATABASE)
            indexer = ChannelIndexer(
                store,
                [source],
                new_progress(channel),
                raw_blocks=MongoArchive(store.database),
            )
            runner, api_port = await serve(
                create_app(client, {channel: _DATABASE}, version=VERSION), "127.0.0.1", 0
            )
            running = asyncio.create_task(indexer.run())
            try:
                url = f"http://127.0.0.1:{api_port}/api/v1/channels/{channel}/blocks"
                visible = await _poll_until_visible(url, live_from, live_blocks)
            finally:
                indexer.stop()
                await running
                await runner.cleanup()
        released = [json.loads(await peer.output.readline()) for _ in range(live_blocks)]
    return [(visible[line["block"]] - line["released"]) * 1000 for line in released]


async def _poll_until_visible(url: str, first: int, count: int) -> dict[int, float]:
    """Return when the API first returned each block, in seconds since 1970."""
    visible: dict[int, float] = {}
    async with aiohttp.ClientSession() as session:
        for number in range(first, first + count):
            while True:
                async with session.get(f"{url}/{number}") as response:
                    if response.status == 200:
                        visible[number] = time.time()
                        break
                await asyncio.sleep(_POLL_S)
    return visible
