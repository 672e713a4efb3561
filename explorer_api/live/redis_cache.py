"""What is costly to find out is kept in Redis, for all processes that serve the same store. Redis is never needed."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, Final, TypeVar

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from explorer_api.http.responses import EncodedResponse

log = structlog.get_logger()

T = TypeVar("T")

_CALL_S: Final = 0.25
_REST_S: Final = 2.0
_LOCK_MS: Final = 750
_WAIT_S: Final = 0.05
_DIGEST_BYTES: Final = 16
_KEPT_S: Final = 120
_MAX_BYTES: Final = 1 << 20
_LOG_INTERVAL_S: Final = 60.0


class RedisCache:
    """Whatever Redis does - refuse, hang, forget, hold something else at a key - costs a moment, and changes no answer.

    After a failure Redis is left alone for a while. `redis` must not decode responses.
    """

    def __init__(
        self, redis: Redis, prefix: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis, self._prefix, self._clock = redis, prefix, clock
        self._rests_until = 0.0
        self._logged: float | None = None
        self.hits = 0
        self.misses = 0
        self.errors = 0

    @property
    def available(self) -> bool:
        """Whether the last call worked, or was long ago."""
        return self._clock() >= self._rests_until

    async def ping(self) -> bool:
        """Whether Redis answers."""
        return await self._call("PING") is not None

    async def through(
        self, version: str, question: str, compute: Callable[[], Awaitable[EncodedResponse]]
    ) -> EncodedResponse:
        """The kept answer to the question about this version of a ledger, else what `compute` gives, which is kept.

        Of several processes that miss at the same time one computes, and the others wait for it, but not for long.
        """
        name = f"{version}:{sha256(question.encode(errors='surrogateescape')).hexdigest()[:32]}"
        lock = f"{self._key(name)}:lock"
        found = await self.recall(name, EncodedResponse)
        if (
            found is None
            and self.available
            and not await self._call("SET", lock, b"", "NX", "PX", _LOCK_MS)
        ):
            found = await self._await_other(name, lock)
        if found is not None:
            self.hits += 1
            return found
        self.misses += 1
        kept = False
        try:
            rendered = await compute()
            seconds = _KEPT_S if rendered.seconds is None else max(1, round(rendered.seconds))
            kept = await self.keep(name, rendered, seconds)
            return rendered
        finally:
            if not kept:  # nobody need wait for it
                await self._call("DEL", lock)

    async def _await_other(self, name: str, lock: str) -> EncodedResponse | None:
        until = self._clock() + _LOCK_MS / 1000
        while self.available and self._clock() < until:
            await asyncio.sleep(_WAIT_S)
            found = await self.recall(name, EncodedResponse)
            if found is not None:
                return found
            if not await self._call("EXISTS", lock):
                return None
        return None

    async def recall(self, name: str, kind: type[T]) -> T | None:
        """What was kept under that name; None where there is nothing that can be read."""
        key = self._key(name)
        data = await self._call("GET", key)
        return _opened(key, data, kind) if isinstance(data, bytes) else None

    async def keep(self, name: str, value: Any, seconds: int) -> bool:
        """Whether it is kept: not where it is large, or Redis takes nothing."""
        key, data = self._key(name), msgspec.msgpack.encode(value)
        if len(data) > _MAX_BYTES:
            return False
        return await self._call("SET", key, _digest(key, data) + data, "EX", seconds) is not None

    def _key(self, name: str) -> str:
        return f"{self._prefix}:{name}"

    async def _call(self, *command: str | bytes | int) -> Any:
        """The reply; None where there is none. A call is limited in time, and not made while Redis is left alone."""
        if not self.available:
            return None
        try:
            async with asyncio.timeout(_CALL_S):
                return await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError) as error:
            self.errors += 1
            now = self._clock()
            self._rests_until = now + _REST_S
            if self._logged is None or now - self._logged > _LOG_INTERVAL_S:
                self._logged = now
                log.warning("cache_unavailable", error=str(error) or type(error).__name__)
            return None


def _digest(key: str, encoded: bytes) -> bytes:
    return sha256(key.encode() + encoded).digest()[:_DIGEST_BYTES]


def _opened(key: str, data: bytes, kind: type[T]) -> T | None:
    """What was kept; None for anything that this program did not write there."""
    digest, encoded = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if _digest(key, encoded) != digest:
        return None
    try:
        return msgspec.msgpack.decode(encoded, type=kind)
    except msgspec.MsgspecError:
        return None
