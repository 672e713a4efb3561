"""Assembles the agreement of a channel's peers, and their comparisons."""

from collections.abc import Sequence

from cli.configuration.settings import Settings
from cli.errors import ConfigurationError
from indexer.agreement.peer_comparison import ComparisonTimings
from indexer.agreement.peer_comparisons import PeerComparisons, warn_of_unknown
from indexer.progress.agreement import Agreement
from indexer.progress.channel_progress import ChannelProgress
from indexer.sources.peer_source import Endpoint, PeerSource
from ledger.mongodb.store import LedgerStore


def channel_agreement(settings: Settings, channel: str, sources: Sequence[PeerSource]) -> Agreement:
    """Return the agreement of the channel's peers, of which nothing is known yet.

    Raises `ConfigurationError` if more organisations are required than are configured.
    """
    organisations = {source.name: source.organisation for source in sources}
    problem = missing_organisations(
        list(organisations.values()), settings.trust.peers_required, channel
    )
    if problem is not None:
        raise ConfigurationError(problem)
    warn_of_unknown(organisations, channel)
    return Agreement(organisations, settings.trust.peers_required)


def peer_comparisons(
    settings: Settings,
    store: LedgerStore,
    sources: Sequence[PeerSource],
    progress: ChannelProgress,
) -> PeerComparisons:
    """Return the comparisons of the stored blocks with all peers.

    The followed peer is one of them: it may not have given the blocks of an earlier start.
    """
    by_name = {source.name: source for source in sources}
    timings = ComparisonTimings(stall_s=settings.indexer.stall_s)
    return PeerComparisons(store.database, list(by_name.values()), progress, timings)


def organisations_of(endpoints: Sequence[Endpoint]) -> list[str | None]:
    """Return the organisation of each peer; None if it is not known."""
    return list({endpoint.address: endpoint.msp_id for endpoint in endpoints}.values())


def missing_organisations(
    organisations: Sequence[str | None], required: int, channel: str
) -> str | None:
    """Return what is wrong if the peers belong to fewer organisations than are required."""
    distinct = len(set(organisations))
    if distinct >= required:
        return None
    unknown = organisations.count(None)
    count_unknown = (
        f"; the organisation of {unknown} peers is not known, and they count as one: set msp_id"
        if unknown
        else ""
    )
    return (
        f"trust.peers_required: {required} peers of distinct organisations must give each block, "
        f"but the peers of channel {channel} belong to {distinct}{count_unknown}. No block could "
        "be agreed, and no row settled: configure peers of further organisations, or require fewer"
    )
