"""The hashes that PostgreSQL announces when a row gets its hash."""

import asyncio
from contextlib import suppress
from typing import Any, Final

import asyncpg

from reconciliation.postgres_servers import PostgresServers

CHANNEL: Final = "kindledger_hashes"
_MAX_HASHES = 10_000
_KEEP_ALIVE_S = 15.0


class HashNotifications:
    """Collects announced hashes.

    Every user of the database can announce hashes, so a hash only says which rows to look up.
    """

    def __init__(self, servers: PostgresServers) -> None:
        self._servers = servers
        self._hashes: dict[str, None] = {}
        self._arrived = asyncio.Event()
        self.missed = asyncio.Event()
        """Set if hashes may have been missed, so that only a sweep finds their rows.

        There were too many hashes to announce or to hold, or this process was not listening.
        """

    async def take(self) -> list[str]:
        """Wait for hashes, and return all that have arrived."""
        await self._arrived.wait()
        self._arrived.clear()
        hashes, self._hashes = list(self._hashes), {}
        return hashes

    async def listen(self) -> None:
        """Collect hashes until cancelled. Raise `ConnectionResetError` after a lost connection."""
        connection_lost = asyncio.Event()
        async with self._servers.primary.acquire() as connection:
            connection.add_termination_listener(lambda _: connection_lost.set())
            await connection.add_listener(CHANNEL, self._receive)
            self.missed.set()
            try:
                while True:
                    try:
                        async with asyncio.timeout(_KEEP_ALIVE_S):
                            await connection_lost.wait()
                    except TimeoutError:
                        await connection.execute("SELECT")
                    else:
                        raise ConnectionResetError("PostgreSQL closed the connection that listens")
            finally:
                with suppress(asyncpg.InterfaceError):  # a lost connection has left the pool
                    await connection.remove_listener(CHANNEL, self._receive)

    def _receive(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        announced_hash = str(payload)
        if announced_hash and len(self._hashes) < _MAX_HASHES:
            self._hashes[announced_hash] = None
            self._arrived.set()
        else:
            self.missed.set()
