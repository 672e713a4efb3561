"""The status of the service and the progress of its channels."""

from datetime import datetime

from msgspec import Struct

from ledger.mongodb.sync_state import (
    EnvelopeReport,
    IndexBuild,
    LastError,
    PeerComparisonReport,
    Reconciliation,
)


class ChannelStatus(Struct, frozen=True, rename="camel"):
    """The progress of a channel, as the daemon last reported it.

    `committed_height` is the height of the store itself, which can be above the reported heights.
    The blocks below `agreed_height` were given by `peers_required` peers of distinct organisations.
    `peers` has every configured peer; it is null if no daemon has compared peers. The signatures in
    the blocks below `verified_height` are verified, and `envelopes` says what was found; both are
    null if the daemon verifies none. `verification_error` says what holds the verification up.
    """

    name: str
    state: str | None
    peer: str | None
    peer_height: int | None
    seen_height: int | None
    committed_height: int
    agreed_height: int
    peers_required: int | None
    verified_height: int | None
    envelopes: EnvelopeReport | None
    verification_error: LastError | None
    peers: list[PeerComparisonReport] | None
    lag_blocks: int | None
    transactions_per_second: float | None
    eta_seconds: float | None
    index_build: IndexBuild | None
    error: LastError | None
    reconciliation: Reconciliation | None
    updated_at: datetime | None


class Status(Struct, frozen=True, rename="camel"):
    """The version of the service, the time since its start, and the progress of all channels."""

    version: str
    uptime_seconds: float
    channels: list[ChannelStatus]
