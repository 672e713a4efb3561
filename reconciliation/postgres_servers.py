"""The PostgreSQL servers: the primary, and replicas, which are only read."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

import asyncpg
import structlog
from msgspec import Struct

from ledger.mongodb.sync_state import DatabaseServer
from reconciliation.connection import Connection
from reconciliation.errors import POSTGRES_ERRORS, is_unavailable

log = structlog.get_logger()

_MEASURE_INTERVAL_S = 1.0
_CONNECT_TIMEOUT_S = 5.0
_ANSWER_GRACE_S = 5.0
"""The time that a server has to answer after `statement_timeout` ended a statement."""
_MAX_SAMPLES = 600


class PoolOptions(Struct, frozen=True, kw_only=True):
    """The options of each pool of connections. Times are in seconds."""

    pool_size: int = 4
    statement_timeout_s: float = 30.0
    lock_timeout_s: float = 2.0
    replica_lag_s: float = 10.0
    """A replica that is further behind the primary is not read."""
    read_only: bool = False
    """Whether the servers refuse every write."""

    def server_settings(self) -> dict[str, str]:
        """Return PostgreSQL's settings for each session."""
        statement_timeout_ms = str(int(self.statement_timeout_s * 1000))
        settings = {
            "application_name": "kindledger-explorer",
            "timezone": "UTC",
            "statement_timeout": statement_timeout_ms,
            "lock_timeout": str(int(self.lock_timeout_s * 1000)),
            "idle_in_transaction_session_timeout": statement_timeout_ms,
            # A partial index on a state is used only if the planner knows the state's value.
            "plan_cache_mode": "force_custom_plan",
            # Hashes are found by index: a scan of the table for each batch would be quadratic.
            "random_page_cost": "1.1",
            "jit": "off",
        }
        if self.read_only:
            settings["default_transaction_read_only"] = "on"
        return settings


class _Server:
    """A server, its pool of connections, and for a replica its lag."""

    def __init__(self, name: str, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.name, self.pool = name, pool
        self.lag_s: float | None = None
        """None if the lag is unknown, and for the primary."""

    def status(self) -> DatabaseServer:
        return DatabaseServer(
            self.name, self.pool.get_size(), self.pool.get_idle_size(), self.lag_s
        )

    def mark_unavailable(self, error: BaseException) -> None:
        """Forget a replica's lag, so that the replica is not read before the next measurement."""
        if self.lag_s is not None:
            log.warning("replica_unavailable", replica=self.name, error=str(error))
        self.lag_s = None


class PostgresServers:
    """The primary and its replicas, as an asynchronous context manager.

    Connections are opened when they are needed.
    """

    def __init__(
        self,
        dsn: str,
        replica_dsns: Sequence[str] = (),
        options: PoolOptions = PoolOptions(),  # noqa: B008 - frozen
    ) -> None:
        self._options = options
        self._primary = _Server("primary", self._new_pool(dsn))
        self._replicas = [
            _Server(f"replica {number}", self._new_pool(replica_dsn))
            for number, replica_dsn in enumerate(replica_dsns, 1)
        ]
        self._last_replica = 0
        self._primary_positions: deque[tuple[float, int]] = deque(maxlen=_MAX_SAMPLES)
        """Times, and the position in the write-ahead log that the primary had reached by then."""
        self._stack = AsyncExitStack()

    def _new_pool(self, dsn: str) -> "asyncpg.Pool[asyncpg.Record]":
        return asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=self._options.pool_size,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=self._options.statement_timeout_s + _ANSWER_GRACE_S,
            server_settings=self._options.server_settings(),
        )

    async def __aenter__(self) -> Self:
        for server in (self._primary, *self._replicas):
            await self._stack.enter_async_context(_opened(server.pool))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def terminate(self) -> None:
        """Abort every connection, for the end of the process; waiting calls fail at once."""
        for server in (self._primary, *self._replicas):
            server.pool.terminate()

    @property
    def primary(self) -> "asyncpg.Pool[asyncpg.Record]":
        """The connections to the primary."""
        return self._primary.pool

    def statuses(self) -> list[DatabaseServer]:
        """Return the connections and the lag of each server, the primary first."""
        return [server.status() for server in (self._primary, *self._replicas)]

    @asynccontextmanager
    async def report_connection(
        self, connect_timeout_s: float | None = None
    ) -> AsyncIterator[Connection]:
        """Yield a connection to the next replica that is near enough, or else to the primary.

        The data may be `replica_lag_s` old. A replica that fails, or gives no connection within
        `connect_timeout_s`, is skipped until its lag is measured again.
        """
        server = self._next_replica() or self._primary
        try:
            async with server.pool.acquire(timeout=connect_timeout_s) as connection:
                yield connection
        except POSTGRES_ERRORS as error:
            if is_unavailable(error):
                server.mark_unavailable(error)
            raise

    def _next_replica(self) -> _Server | None:
        for _ in self._replicas:
            self._last_replica = (self._last_replica + 1) % len(self._replicas)
            replica = self._replicas[self._last_replica]
            if replica.lag_s is not None and replica.lag_s <= self._options.replica_lag_s:
                return replica
        return None

    async def watch_replicas(self) -> None:
        """Measure the lag of the replicas every second, until cancelled."""
        while self._replicas:
            await self.measure_lag()
            await asyncio.sleep(_MEASURE_INTERVAL_S)

    async def measure_lag(self) -> None:
        """Measure the lag of each replica once."""
        now = time.monotonic()
        # The calls that need the primary report that it is unavailable.
        with contextlib.suppress(*POSTGRES_ERRORS):
            position = await self._primary.pool.fetchval(_PRIMARY_POSITION)
            self._primary_positions.append((now, position))
        await asyncio.gather(*map(self._measure_replica, self._replicas))

    async def _measure_replica(self, replica: _Server) -> None:
        """Set the lag: the time since the primary reached the position of the replica."""
        try:
            replayed = await replica.pool.fetchval(_REPLAYED_POSITION)
        except POSTGRES_ERRORS as error:
            replica.mark_unavailable(error)
            return
        reached_at = [
            time_s
            for time_s, position in self._primary_positions
            if replayed is not None and position <= replayed
        ]
        if reached_at and replica.lag_s is None:
            log.info("replica_available", replica=replica.name)
        replica.lag_s = time.monotonic() - reached_at[-1] if reached_at else None


# Positions in the write-ahead log as numbers: the bytes since its beginning.
_PRIMARY_POSITION = "SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::int8"
_REPLAYED_POSITION = "SELECT (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::int8"


@asynccontextmanager
async def _opened(pool: "asyncpg.Pool[asyncpg.Record]") -> AsyncIterator[None]:
    """Open the pool; at the end close its connections, or abort them after a timeout."""
    await pool
    try:
        yield
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await pool.close()
        pool.terminate()
