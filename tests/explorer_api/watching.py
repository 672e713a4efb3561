"""Records the commands that a client sends to MongoDB, and the running tasks of the API."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import CodeType
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

_PACKAGES = ("/explorer_api/", "/runtime/")
"""The packages whose functions the API runs as tasks."""

_DRIVER_COMMANDS = {"hello", "ismaster", "endSessions", "killCursors"}


class Commands(CommandListener):
    """The names of the commands, without those of the driver itself."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: CommandStartedEvent) -> None:
        pipeline = event.command.get("pipeline")
        if event.command_name not in _DRIVER_COMMANDS:
            self.names.append(
                "changeStream"
                if pipeline and "$changeStream" in pipeline[0]
                else event.command_name
            )

    def succeeded(self, event: CommandSucceededEvent) -> None:
        pass

    def failed(self, event: CommandFailedEvent) -> None:
        pass

    def clear(self) -> None:
        self.names.clear()


@asynccontextmanager
async def watched_client(uri: str) -> AsyncIterator[tuple[AsyncMongoClient[Any], Commands]]:
    commands = Commands()
    async with AsyncMongoClient[Any](uri, event_listeners=[commands]) as client:
        yield client, commands


def tasks_of_the_api() -> list[str]:
    """The names of the functions that run as tasks of the API."""
    codes: list[CodeType] = [getattr(task.get_coro(), "cr_code") for task in asyncio.all_tasks()]  # noqa: B009
    return [
        code.co_qualname
        for code in codes
        if any(package in code.co_filename for package in _PACKAGES)
        and "/tests/" not in code.co_filename
    ]
