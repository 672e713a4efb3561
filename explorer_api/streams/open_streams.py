"""The live streams that are open in this process: how many may be, and that they end with it."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import web

from explorer_api.http.access import ClientAddresses
from explorer_api.http.problems import ProblemError
from explorer_api.http.request_metrics import ApiMetrics
from explorer_api.options import Options

_RETRY_S: Final = 10


class OpenStreams:
    """Counts streams, all of them and by client."""

    def __init__(self, options: Options, metrics: ApiMetrics) -> None:
        self._options, self._metrics = options, metrics
        self._clients = ClientAddresses(options.trusted_proxies)
        self._by_client: Counter[str] = Counter()
        self._ends: set[Callable[[], None]] = set()
        self._closing = False

    def check(self, request: web.Request) -> None:
        """Raises `ProblemError` where no further stream may be opened."""
        limit, most = "this service", self._options.streams
        count = len(self._ends)
        if self._options.streams_per_client is not None and count < most:
            limit, most = "one client", self._options.streams_per_client
            count = self._by_client[self._clients.address(request)]
        if count >= most:
            raise ProblemError(
                429,
                "too-many-streams",
                "Too many streams",
                f"{count} streams are open, and {limit} may have {most}.",
                "Close streams that are not needed; one can carry everything that a channel has.",
                headers={"Retry-After": str(_RETRY_S)},
            )

    @contextmanager
    def opened(self, request: web.Request, end: Callable[[], None]) -> Iterator[None]:
        """Counts a stream while the context lasts; `end` ends it, and is called when the service stops."""
        client = self._clients.address(request)
        self._ends.add(end)
        self._by_client[client] += 1
        self._metrics.streams.inc()
        if self._closing:
            end()
        try:
            yield
        finally:
            self._metrics.streams.dec()
            self._ends.remove(end)
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]

    def lagged(self) -> None:
        """Counts a stream that was closed because its client was too slow."""
        self._metrics.lagged.inc()

    async def end_all(self, _: web.Application) -> None:
        """Ends every stream, also those that begin from now on."""
        self._closing = True
        for end in self._ends:
            end()
