"""Loads values together that are asked for at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Batches(Generic[K, V]):
    """Loads the values of all keys that are asked for in one cycle of the event loop by one call.

    `load` gets at most `most` different keys, and returns the values of those keys that have one.
    It runs in the context of the first caller; if it fails, all callers get its error.
    """

    def __init__(
        self, load: Callable[[Collection[K]], Awaitable[Mapping[K, V]]], most: int
    ) -> None:
        self._load, self._most = load, most
        self._waiting: dict[K, list[asyncio.Future[V | None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, key: K) -> V | None:
        """Return the value of the key, None if it has none."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[V | None] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._start)
        self._waiting.setdefault(key, []).append(future)
        return await future

    def _start(self) -> None:
        """Load the values of all keys that wait, in as few calls as possible."""
        keys, waiting = list(self._waiting), self._waiting
        self._waiting = {}
        for start in range(0, len(keys), self._most):
            batch = {key: waiting[key] for key in keys[start : start + self._most]}
            task = asyncio.create_task(self._load_batch(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _load_batch(self, batch: Mapping[K, list[asyncio.Future[V | None]]]) -> None:
        try:
            values = await self._load(batch.keys())
        except Exception as error:  # noqa: BLE001 - each caller raises it
            for future in _unfinished(batch):
                future.set_exception(error)
        except BaseException:
            for future in _unfinished(batch):
                future.cancel()
            raise
        else:
            for key, futures in batch.items():
                for future in futures:
                    if not future.done():  # else its caller was cancelled
                        future.set_result(values.get(key))


def _unfinished(
    batch: Mapping[K, list[asyncio.Future[V | None]]],
) -> list[asyncio.Future[V | None]]:
    return [future for futures in batch.values() for future in futures if not future.done()]
