"""Checks what lies above the highest block of a channel: the rest of an interrupted run."""

import asyncio

from pymongo.errors import PyMongoError

from cli.assembly.channel import pipeline_limits
from cli.assembly.mongo import mongo_client
from cli.configuration.settings import Settings
from cli.doctor.checks import Check, Details, FailedStepError, Risk, SkippedStepError, run_part
from cli.errors import ConfigurationError, Exit
from ledger.mongodb.block_range import stored_height
from ledger.mongodb.leftovers import uncommitted_documents

_LEFTOVERS = "uncommitted documents"
_SMALLEST_BLOCK_BYTES = 1_000
"""The documents of a block with one transaction have more bytes."""


async def check_leftovers(
    settings: Settings, channel: str, limit_s: float, *, reachable: bool
) -> list[Check]:
    """Check that no more blocks are uncommitted than the daemon writes at one time."""

    async def probe(details: Details) -> None:
        if not reachable:
            raise SkippedStepError(_LEFTOVERS, "needs mongodb: authentication")
        try:
            async with asyncio.timeout(limit_s):
                details[_LEFTOVERS] = await _describe(settings, channel)
        except ConfigurationError as error:
            raise SkippedStepError(_LEFTOVERS, str(error)) from error
        except (PyMongoError, TimeoutError) as error:
            raise FailedStepError(
                _LEFTOVERS,
                f"they cannot be read: {error!r}",
                "Give the user the role that config/mongo-roles.js creates.",
                Exit.CONFIGURATION,
            ) from error

    return await run_part(f"mongodb, {channel}", (_LEFTOVERS,), probe)


async def _describe(settings: Settings, channel: str) -> str | Risk:
    async with mongo_client(settings) as client:
        database = client[settings.database_of(channel)]
        height = await stored_height(database)
        documents = await uncommitted_documents(database, height)
    if documents.highest_block is None:
        return "none"
    limits = pipeline_limits(settings.indexer)
    in_flight = limits.parallel_batches * limits.batch_bytes // _SMALLEST_BLOCK_BYTES
    if documents.highest_block < height + in_flight:
        return f"{documents}, of a run that writes or was interrupted; the next run compares them"
    return Risk(
        f"{documents}, more than {in_flight:,} blocks above the height {height:,}",
        "No interrupted run leaves this: another chain was written here, or block documents were "
        "deleted. `kindledger repair` shows them; nobody sees them until blocks reach them.",
    )
