"""Records the commands that a client sends to MongoDB."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

_DRIVER_COMMANDS = {"hello", "ismaster", "endSessions", "killCursors"}


class CommandRecorder(CommandListener):
    """Records the names of commands, without the commands of the driver itself."""

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
async def recorded_client(uri: str) -> AsyncIterator[tuple[AsyncMongoClient[Any], CommandRecorder]]:
    """Yield a client, and the recorder of its commands."""
    commands = CommandRecorder()
    async with AsyncMongoClient[Any](uri, event_listeners=[commands]) as client:
        yield client, commands
