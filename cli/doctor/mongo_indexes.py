"""Checks which indexes the database of a channel lacks."""

import asyncio

from pymongo.errors import PyMongoError

from cli.assembly.channel import index_options
from cli.assembly.mongo import mongo_client
from cli.configuration.settings import Settings
from cli.doctor.checks import Check, Details, FailedStepError, Risk, SkippedStepError, run_part
from cli.errors import ConfigurationError, Exit
from ledger.mongodb.block_range import stored_height
from ledger.mongodb.index_builds import missing_indexes

_INDEXES = "indexes"


async def check_indexes(
    settings: Settings, channel: str, limit_s: float, *, reachable: bool
) -> list[Check]:
    """Check that the channel's database has all indexes; nothing is built."""

    async def probe(details: Details) -> None:
        if not reachable:
            raise SkippedStepError(_INDEXES, "needs mongodb: authentication")
        try:
            async with asyncio.timeout(limit_s):
                details[_INDEXES] = await _describe_indexes(settings, channel)
        except ConfigurationError as error:
            raise SkippedStepError(_INDEXES, str(error)) from error
        except (PyMongoError, TimeoutError) as error:
            raise FailedStepError(
                _INDEXES,
                f"they cannot be read: {error!r}",
                "Give the user the role that config/mongo-roles.js creates.",
                Exit.CONFIGURATION,
            ) from error

    return await run_part(f"mongodb, {channel}", (_INDEXES,), probe)


async def _describe_indexes(settings: Settings, channel: str) -> str | Risk:
    async with mongo_client(settings) as client:
        database = client[settings.database_of(channel)]
        missing = await missing_indexes(database, index_options(settings.indexer))
        height = await stored_height(database)
    names = [
        f"{name}.{model.document['name']}" for name, models in missing.items() for model in models
    ]
    if not names:
        return "all indexes exist"
    if not height:
        return "no block is stored yet; `run` and `import` create the indexes"
    return Risk(
        f"missing: {', '.join(names)}",
        "`kindledger run` builds them when the channel is near the head of its peer, `import` when "
        "the files end. Until then the API answers queries that need them with 503.",
    )
