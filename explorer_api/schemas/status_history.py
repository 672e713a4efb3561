"""The history of the service's status."""

from datetime import datetime

from msgspec import Struct

from ledger.mongodb.sync_state import ChannelState


class ChannelSample(Struct, frozen=True, rename="camel"):
    """The status of a channel at one time. Heights are null while MongoDB does not answer.

    The values that the daemon reports are null while it does not report: the transactions indexed
    per second, its state, the height up to which business rows are settled, and the open
    discrepancies.
    """

    at: datetime
    height: int | None
    peer_height: int | None
    lag_blocks: int | None
    transactions_per_second: float | None
    state: ChannelState | None
    settled_height: int | None
    discrepancies: int | None


class ServiceSample(Struct, frozen=True, rename="camel"):
    """The requests of this process since the previous sample: their rate and response times.

    Half of the requests took at most `p50_ms` milliseconds, and 99 of 100 at most `p99_ms`. Both
    are estimated from a histogram, and null if there were no requests. Streams are not counted.
    """

    at: datetime
    requests_per_second: float
    p50_ms: float | None
    p99_ms: float | None


class ChannelHistory(Struct, frozen=True):
    """The samples of one channel, the oldest first."""

    name: str
    samples: list[ChannelSample]


class StatusHistory(Struct, frozen=True, rename="camel"):
    """The last 360 samples, taken every `interval_seconds`. The process started at `since`."""

    since: datetime
    interval_seconds: float
    service: list[ServiceSample]
    channels: list[ChannelHistory]
