"""Hashes of which PostgreSQL notifies, as rows get them."""

import asyncio
from contextlib import suppress
from typing import Any, Final

import asyncpg

from reconciliation.postgres_servers import PostgresServers

CHANNEL: Final = "kindledger_hashes"
_MOST_HASHES = 10_000
_KEEP_ALIVE_S = 15.0


class HashNotifications:
    """Collects hashes. Anybody with the database can send them, so they are no more than a hint where to look."""

    def __init__(self, servers: PostgresServers) -> None:
        self._servers = servers
        self._hashes: dict[str, None] = {}
        self._arrived = asyncio.Event()
        self.missed = asyncio.Event()
        """Set when there were too many to tell, or nobody was listening: only a sweep finds those rows."""

    async def take(self) -> list[str]:
        """Waits for hashes, and takes all that have come."""
        await self._arrived.wait()
        self._arrived.clear()
        hashes, self._hashes = list(self._hashes), {}
        return hashes

    async def listen(self) -> None:
        """Listens until cancelled, or until the connection is lost."""
        lost = asyncio.Event()
        async with self._servers.primary.acquire() as connection:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(CHANNEL, self._notified)
            self.missed.set()
            try:
                while True:
                    try:
                        async with asyncio.timeout(_KEEP_ALIVE_S):
                            await lost.wait()
                    except TimeoutError:
                        await connection.execute("SELECT")
                    else:
                        raise ConnectionResetError("PostgreSQL closed the connection that listens")
            finally:
                with suppress(asyncpg.InterfaceError):  # it was lost, and so has left the pool
                    await connection.remove_listener(CHANNEL, self._notified)

    def _notified(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        hash_ = str(payload)
        if hash_ and len(self._hashes) < _MOST_HASHES:
            self._hashes[hash_] = None
            self._arrived.set()
        else:
            self.missed.set()
