"""The PostgreSQL servers: the primary, which alone is written, and replicas for reports and cross-checks."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self, TypeAlias

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy
from msgspec import Struct

from ledger.mongodb.sync_state import DatabaseServer
from reconciliation.errors import FAILURES, is_away

log = structlog.get_logger()

_WATCH_S = 1.0
_CONNECT_TIMEOUT_S = 5.0
_ANSWER_GRACE_S = 5.0
_SAMPLES = 600

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"


class PoolOptions(Struct, frozen=True, kw_only=True):
    """Of the connections. Times are in seconds."""

    pool_size: int = 4
    statement_timeout_s: float = 30.0
    lock_timeout_s: float = 2.0
    replica_lag_s: float = 10.0
    """A replica that is further behind is not asked."""
    read_only: bool = False
    """Whether the servers refuse to write whatever they are told."""


class _Server:
    """A server and its connections, which are made when they are needed."""

    def __init__(self, name: str, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.name, self.pool = name, pool
        self.lag_s: float | None = None

    def figures(self) -> DatabaseServer:
        return DatabaseServer(
            self.name, self.pool.get_size(), self.pool.get_idle_size(), self.lag_s
        )


class PostgresServers:
    """The primary and its replicas. Use as an asynchronous context manager; nothing is connected before it is asked."""

    def __init__(
        self, dsn: str, replica_dsns: Sequence[str] = (), bounds: PoolOptions = PoolOptions()
    ) -> None:  # noqa: B008
        self._bounds = bounds
        self._primary = _Server("primary", self._pool(dsn))
        self._replicas = [
            _Server(f"replica {n}", self._pool(dsn)) for n, dsn in enumerate(replica_dsns, 1)
        ]
        self._turn = 0
        self._written: deque[tuple[float, int]] = deque(
            maxlen=_SAMPLES
        )  # when, and up to where the primary had written
        self._stack = AsyncExitStack()

    def _pool(self, dsn: str) -> "asyncpg.Pool[asyncpg.Record]":
        bounds = self._bounds
        return asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=bounds.pool_size,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=bounds.statement_timeout_s + _ANSWER_GRACE_S,
            server_settings={
                "application_name": "kindledger-explorer",
                "timezone": "UTC",
                "statement_timeout": str(int(bounds.statement_timeout_s * 1000)),
                "lock_timeout": str(int(bounds.lock_timeout_s * 1000)),
                "idle_in_transaction_session_timeout": str(int(bounds.statement_timeout_s * 1000)),
                "plan_cache_mode": "force_custom_plan",  # partial indexes on a state fit only where its value is known
                "random_page_cost": "1.1",  # hashes are found by index: scanning the table for each batch is quadratic
                "jit": "off",
                **({"default_transaction_read_only": "on"} if bounds.read_only else {}),
            },
        )

    async def __aenter__(self) -> Self:
        for server in (self._primary, *self._replicas):
            await self._stack.enter_async_context(_opened(server.pool))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def abort(self) -> None:
        """Breaks every connection off; whoever waits for one of them fails at once. The end."""
        for server in (self._primary, *self._replicas):
            server.pool.terminate()

    @property
    def primary(self) -> "asyncpg.Pool[asyncpg.Record]":
        """The connections to the primary."""
        return self._primary.pool

    def figures(self) -> list[DatabaseServer]:
        """Connections and lag, the primary first."""
        return [server.figures() for server in (self._primary, *self._replicas)]

    @asynccontextmanager
    async def reading(self, within_s: float | None = None) -> AsyncIterator[Connection]:
        """A connection for a report: to the next replica that is up and near enough, else to the primary.

        What it reads may be `replica_lag_s` old. A replica that fails meanwhile, or that gives no connection within
        `within_s`, is passed over the next time.
        """
        server = self._next_replica() or self._primary
        try:
            async with server.pool.acquire(timeout=within_s) as connection:
                yield connection
        except FAILURES as error:
            if is_away(error):
                self._lost(server, error)
            raise

    def _next_replica(self) -> _Server | None:
        for _ in self._replicas:
            self._turn = (self._turn + 1) % len(self._replicas)
            replica = self._replicas[self._turn]
            if replica.lag_s is not None and replica.lag_s <= self._bounds.replica_lag_s:
                return replica
        return None

    async def watch(self) -> None:
        """Measures how far the replicas are behind, until cancelled."""
        while self._replicas:
            await self.measure()
            await asyncio.sleep(_WATCH_S)

    async def measure(self) -> None:
        """Measures once."""
        now = time.monotonic()
        with contextlib.suppress(
            *FAILURES
        ):  # a primary that is away is noticed by those who need it
            self._written.append((now, await self._primary.pool.fetchval(_WRITTEN)))
        await asyncio.gather(*map(self._measure, self._replicas))

    async def _measure(self, replica: _Server) -> None:
        """A replica has all that the primary had written when it was last not ahead of what the replica replayed."""
        try:
            replayed = await replica.pool.fetchval(_REPLAYED)
        except FAILURES as error:
            self._lost(replica, error)
            return
        known = [
            when for when, written in self._written if replayed is not None and written <= replayed
        ]
        if known and replica.lag_s is None:
            log.info("replica_available", replica=replica.name)
        replica.lag_s = time.monotonic() - known[-1] if known else None

    @staticmethod
    def _lost(server: _Server, error: BaseException) -> None:
        """A replica is not asked again before it was measured; logged when it was there until now."""
        if server.lag_s is not None:
            log.warning("replica_unavailable", replica=server.name, error=str(error))
        server.lag_s = None


# As numbers, not as pg_lsn: the distance from the start of the log, in bytes.
_WRITTEN = "SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::int8"
_REPLAYED = "SELECT (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::int8"


@asynccontextmanager
async def _opened(pool: "asyncpg.Pool[asyncpg.Record]") -> AsyncIterator[None]:
    """Opens the pool; at the end its connections are closed, in order if the server answers in time."""
    await pool
    try:
        yield
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await pool.close()
        pool.terminate()
