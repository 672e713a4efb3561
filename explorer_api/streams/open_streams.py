"""The open streams of this process: their number is limited, and they end when it stops."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import web

from explorer_api.http.access import ClientAddresses
from explorer_api.http.problems import ProblemError
from explorer_api.http.request_metrics import ApiMetrics
from explorer_api.options import Options

_RETRY_AFTER_S: Final = 10


class OpenStreams:
    """Counts the open streams, all of them and those of each client address."""

    def __init__(self, options: Options, metrics: ApiMetrics) -> None:
        self._options, self._metrics = options, metrics
        self._addresses = ClientAddresses(options.trusted_proxies)
        self._by_address: Counter[str] = Counter()
        self._end_functions: set[Callable[[], None]] = set()
        self._closing = False

    def check(self, request: web.Request) -> None:
        """Raise `ProblemError` when no further stream may be opened."""
        subject, limit = "this service", self._options.streams
        count = len(self._end_functions)
        if self._options.streams_per_client is not None and count < limit:
            subject, limit = "one client", self._options.streams_per_client
            count = self._by_address[self._addresses.address(request)]
        if count >= limit:
            raise ProblemError(
                429,
                "too-many-streams",
                "Too many streams",
                f"{count} streams are open, and {subject} may have {limit}.",
                "Close streams that you do not need: one can carry everything of a channel.",
                headers={"Retry-After": str(_RETRY_AFTER_S)},
            )

    @contextmanager
    def opened(self, request: web.Request, end: Callable[[], None]) -> Iterator[None]:
        """Count a stream while the context lasts; `end` is called when the service stops."""
        address = self._addresses.address(request)
        self._end_functions.add(end)
        self._by_address[address] += 1
        self._metrics.streams.inc()
        if self._closing:
            end()
        try:
            yield
        finally:
            self._metrics.streams.dec()
            self._end_functions.remove(end)
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def count_lagged(self) -> None:
        """Count a stream that was closed because its client was too slow."""
        self._metrics.lagged.inc()

    async def end_all(self, _: web.Application) -> None:
        """End every stream, also those that are opened from now on."""
        self._closing = True
        for end in self._end_functions:
            end()
