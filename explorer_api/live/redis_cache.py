"""Results cached in Redis, for all processes that serve the same ledger."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, Final, TypeVar

import msgspec
from redis.asyncio import Redis

from explorer_api.http.responses import EncodedResponse
from runtime.redis_calls import RedisCalls
from runtime.throttled_log import ThrottledLog

T = TypeVar("T")

_LOCK_MS: Final = 750
_POLL_S: Final = 0.05
_CACHE_S: Final = 120
_DIGEST_BYTES: Final = 16
_MAX_BYTES: Final = 1 << 20


class RedisCache:
    """Caches results whose computation is expensive.

    A fault of Redis changes no result, and delays it only for a moment: when Redis refuses calls,
    hangs, loses data or holds foreign data at a key, the result is computed. After a failure no
    call is made for `pause_s`. `redis` must not decode responses.
    """

    def __init__(
        self,
        redis: Redis,
        prefix: str,
        *,
        pause_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prefix, self._clock = prefix, clock
        self._calls = RedisCalls(redis, pause_s=pause_s, clock=clock)
        self._failures = ThrottledLog("cache_unavailable", clock=clock)
        self.hits = 0
        self.misses = 0
        self.errors = 0

    async def ping(self) -> bool:
        """Return whether Redis answers."""
        return await self._call("PING") is not None

    async def get_or_compute(
        self, version: str, key: str, compute: Callable[[], Awaitable[EncodedResponse]]
    ) -> EncodedResponse:
        """Return the cached response for the key and the ledger's version, or compute and cache it.

        When several processes miss the same response, one of them computes it, and the others wait
        for it, up to the lifetime of the lock.
        """
        name = f"{version}:{sha256(key.encode(errors='surrogateescape')).hexdigest()[:32]}"
        lock = f"{self._redis_key(name)}:lock"
        cached = await self.get(name, EncodedResponse)
        if (
            cached is None
            and self._calls.available
            and not await self._call("SET", lock, b"", "NX", "PX", _LOCK_MS)
        ):
            cached = await self._wait_for_other_process(name, lock)
        if cached is not None:
            self.hits += 1
            return cached
        self.misses += 1
        is_stored = False
        try:
            response = await compute()
            seconds = _CACHE_S if response.seconds is None else max(1, round(response.seconds))
            is_stored = await self.put(name, response, seconds)
            return response
        finally:
            if not is_stored:  # then the other processes need not wait any longer
                await self._call("DEL", lock)

    async def _wait_for_other_process(self, name: str, lock: str) -> EncodedResponse | None:
        deadline = self._clock() + _LOCK_MS / 1000
        while self._calls.available and self._clock() < deadline:
            await asyncio.sleep(_POLL_S)
            cached = await self.get(name, EncodedResponse)
            if cached is not None:
                return cached
            if not await self._call("EXISTS", lock):
                return None
        return None

    async def get(self, name: str, kind: type[T]) -> T | None:
        """Return the value cached under the name; None if Redis has no valid value."""
        key = self._redis_key(name)
        data = await self._call("GET", key)
        return _decode(key, data, kind) if isinstance(data, bytes) else None

    async def put(self, name: str, value: Any, seconds: int) -> bool:
        """Cache the value. Return False if it is too large, or Redis is unavailable."""
        key, data = self._redis_key(name), msgspec.msgpack.encode(value)
        if len(data) > _MAX_BYTES:
            return False
        return await self._call("SET", key, _digest(key, data) + data, "EX", seconds) is not None

    def _redis_key(self, name: str) -> str:
        return f"{self._prefix}:{name}"

    async def _call(self, *command: str | bytes | int) -> Any:
        return await self._calls.call(
            lambda redis: redis.execute_command(*command),  # type: ignore[no-untyped-call]
            self._count_failure,
        )

    def _count_failure(self, error: Exception) -> None:
        self.errors += 1
        self._failures.failed(error=str(error) or type(error).__name__)


def _digest(key: str, encoded: bytes) -> bytes:
    return sha256(key.encode() + encoded).digest()[:_DIGEST_BYTES]


def _decode(key: str, data: bytes, kind: type[T]) -> T | None:
    """Return the value, or None for data that this program did not write at this key."""
    digest, encoded = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if _digest(key, encoded) != digest:
        return None
    try:
        return msgspec.msgpack.decode(encoded, type=kind)
    except msgspec.MsgspecError:
        return None
