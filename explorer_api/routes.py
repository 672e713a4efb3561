"""The route table, from which requests are served and documented."""

from typing import Any, Final

from explorer_api.http.parameters import CURSOR, LIMIT, ORDER
from explorer_api.http.responses import (
    HALF_A_MINUTE,
    IMMUTABLE,
    NO_CACHE,
    NO_STORE,
    ONE_DAY,
    PROTOBUF,
    TEN_SECONDS,
)
from explorer_api.operation_routes import OPERATION_ROUTES
from explorer_api.resources import audit, blocks, certificates, events, series, transactions
from explorer_api.resources.chaincodes import get_chaincode, list_chaincodes
from explorer_api.resources.channels import get_channel, list_channels
from explorer_api.resources.digests import AT, get_digest
from explorer_api.resources.evidence import get_block_transaction_evidence, get_evidence
from explorer_api.resources.keys import get_key_history, read_key_filter
from explorer_api.resources.links import API
from explorer_api.resources.search import QUERY, search
from explorer_api.resources.stats import get_stats
from explorer_api.resources.stream import EVENT_STREAM, STREAM_PARAMETERS, open_stream
from explorer_api.resources.transaction_filters import FILTERS as TRANSACTION_FILTERS
from explorer_api.resources.transaction_filters import read_transaction_filters
from explorer_api.resources.transaction_lists import list_block_transactions, list_transactions
from explorer_api.resources.transaction_lookup import find_transaction
from explorer_api.routing.route import AnyRoute, ChannelRoute, ListRoute, Route, StreamRoute
from explorer_api.schemas.audit import Audit, DiscrepancyList
from explorer_api.schemas.blocks import BlockDetail, BlockPage, LedgerDigest
from explorer_api.schemas.certificates import CertificateDetail, CertificatePage
from explorer_api.schemas.chaincodes import ChaincodeDetail, ChaincodeList
from explorer_api.schemas.channels import ChannelDetail, ChannelList
from explorer_api.schemas.events import EventPage
from explorer_api.schemas.keys import KeyHistory
from explorer_api.schemas.search import SearchResults
from explorer_api.schemas.stats import Series, Stats
from explorer_api.schemas.stream import StreamMessage
from explorer_api.schemas.transaction_lookup import TransactionLocations
from explorer_api.schemas.transactions import TransactionDetail, TransactionPage

CHANNEL: Final = f"{API}/channels/{{channel}}"

_LEDGER = "Ledger"
_STATISTICS = "Statistics"
_AUDIT = "Audit"
_PAGING = (LIMIT, CURSOR, ORDER)
_BLOCK_CACHING = (IMMUTABLE, NO_CACHE)
_LIST_CACHING = (NO_CACHE, ONE_DAY)

ROUTES: Final[tuple[AnyRoute, ...]] = (
    ChannelRoute(
        path=f"{CHANNEL}/blocks/{{block}}",
        handler=blocks.get_block,
        tag=_LEDGER,
        body_type=BlockDetail,
        cache_controls=_BLOCK_CACHING,
        parameters=(blocks.INCLUDE,),
        example=f"{CHANNEL}/blocks/latest?include=transactions",
    ),
    ChannelRoute(
        path=f"{CHANNEL}/transactions/{{txId}}",
        handler=transactions.get_transaction,
        tag=_LEDGER,
        body_type=TransactionDetail,
        example=f"{CHANNEL}/transactions/{{txId}}",
    ),
    ListRoute(
        path=f"{CHANNEL}/blocks",
        list_name="blocks",
        read_filters=blocks.read_block_filters,
        handler=blocks.list_blocks,
        tag=_LEDGER,
        body_type=BlockPage,
        problems=("filter-not-indexed",),
        cache_controls=_LIST_CACHING,
        parameters=(*_PAGING, blocks.NUMBER_GE, blocks.NUMBER_LE, blocks.TS_GE, blocks.TS_LT),
        example=f"{CHANNEL}/blocks?limit=10",
    ),
    ListRoute(
        path=f"{CHANNEL}/transactions",
        list_name="transactions",
        read_filters=read_transaction_filters,
        handler=list_transactions,
        tag=_LEDGER,
        body_type=TransactionPage,
        problems=("filter-not-indexed",),
        cache_controls=_LIST_CACHING,
        parameters=(*_PAGING, *TRANSACTION_FILTERS),
        example=f"{CHANNEL}/transactions?status.ne=VALID&limit=10",
    ),
    ListRoute(
        path=f"{CHANNEL}/events",
        list_name="events",
        read_filters=events.read_event_filters,
        handler=events.list_events,
        tag=_LEDGER,
        body_type=EventPage,
        problems=("filter-not-indexed",),
        cache_controls=_LIST_CACHING,
        parameters=(*_PAGING, *events.FILTERS),
        families=(events.PAYLOAD,),
        example=f"{CHANNEL}/events?limit=10",
    ),
    ChannelRoute(
        path=f"{CHANNEL}/blocks/{{block}}/transactions",
        handler=list_block_transactions,
        tag=_LEDGER,
        body_type=TransactionPage,
        cache_controls=_BLOCK_CACHING,
        parameters=(LIMIT, CURSOR),
        example=f"{CHANNEL}/blocks/latest/transactions",
    ),
    ChannelRoute(
        path=f"{CHANNEL}/blocks/{{block}}/transactions/{{index}}",
        handler=transactions.get_block_transaction,
        tag=_LEDGER,
        body_type=TransactionDetail,
        cache_controls=_BLOCK_CACHING,
        example=f"{CHANNEL}/blocks/0/transactions/0",
    ),
    ChannelRoute(
        path=f"{CHANNEL}/blocks/{{block}}/raw",
        handler=blocks.get_raw_block,
        tag=_LEDGER,
        body_type=bytes,
        cache_controls=_BLOCK_CACHING,
        content_type=PROTOBUF,
        problems=("raw-not-retained", "raw-block-damaged", "archive-unavailable"),
        example=f"{CHANNEL}/blocks/0/raw",
    ),
    ChannelRoute(
        path=f"{CHANNEL}/transactions/{{txId}}/evidence",
        handler=get_evidence,
        tag=_AUDIT,
        body_type=dict[str, Any],
        cache_controls=_BLOCK_CACHING,
        problems=("raw-not-retained", "not-provable", "archive-unavailable"),
        example=f"{CHANNEL}/transactions/{{txId}}/evidence",
    ),
    ChannelRoute(
        path=f"{CHANNEL}/blocks/{{block}}/transactions/{{index}}/evidence",
        handler=get_block_transaction_evidence,
        tag=_AUDIT,
        body_type=dict[str, Any],
        cache_controls=_BLOCK_CACHING,
        problems=("raw-not-retained", "not-provable", "archive-unavailable"),
        example=f"{CHANNEL}/blocks/0/transactions/0/evidence",
    ),
    ChannelRoute(
        path=f"{CHANNEL}/digest",
        handler=get_digest,
        tag=_AUDIT,
        body_type=LedgerDigest,
        problems=("block-not-found", "block-not-indexed-yet"),
        cache_controls=_BLOCK_CACHING,
        parameters=(AT,),
        example=f"{CHANNEL}/digest",
    ),
    Route(
        path=f"{API}/channels",
        handler=list_channels,
        tag=_LEDGER,
        body_type=ChannelList,
        example=f"{API}/channels",
    ),
    ChannelRoute(
        path=CHANNEL, handler=get_channel, tag=_LEDGER, body_type=ChannelDetail, example=CHANNEL
    ),
    Route(
        path=f"{API}/transactions/{{txId}}",
        handler=find_transaction,
        tag=_LEDGER,
        body_type=TransactionDetail,
        other_body_types={300: TransactionLocations},
        example=f"{API}/transactions/{{txId}}",
    ),
    ListRoute(
        path=f"{CHANNEL}/keys/{{namespace}}/{{key}}/history",
        list_name="key history",
        read_filters=read_key_filter,
        handler=get_key_history,
        tag=_LEDGER,
        body_type=KeyHistory,
        problems=("filter-not-indexed",),
        cache_controls=_LIST_CACHING,
        parameters=_PAGING,
        example=f"{CHANNEL}/keys/{{namespace}}/{{key}}/history",
    ),
    ChannelRoute(
        path=f"{CHANNEL}/chaincodes",
        handler=list_chaincodes,
        tag=_LEDGER,
        body_type=ChaincodeList,
        problems=("totals-not-ready",),
        cache_controls=(HALF_A_MINUTE,),
        example=f"{CHANNEL}/chaincodes",
    ),
    ChannelRoute(
        path=f"{CHANNEL}/chaincodes/{{name}}",
        handler=get_chaincode,
        tag=_LEDGER,
        body_type=ChaincodeDetail,
        problems=("totals-not-ready",),
        cache_controls=(HALF_A_MINUTE,),
        example=f"{CHANNEL}/chaincodes/{{name}}",
    ),
    ChannelRoute(
        path=f"{CHANNEL}/search",
        handler=search,
        tag=_LEDGER,
        body_type=SearchResults,
        problems=("query-too-short",),
        cache_controls=(TEN_SECONDS,),
        parameters=(QUERY,),
        example=f"{CHANNEL}/search?q=0",
    ),
    ChannelRoute(
        path=f"{CHANNEL}/stats",
        handler=get_stats,
        tag=_STATISTICS,
        body_type=Stats,
        problems=("totals-not-ready",),
        cache_controls=(HALF_A_MINUTE,),
        example=f"{CHANNEL}/stats",
    ),
    ChannelRoute(
        path=f"{CHANNEL}/stats/series",
        handler=series.get_series,
        tag=_STATISTICS,
        body_type=Series,
        problems=("range-too-large", "totals-not-ready"),
        cache_controls=(HALF_A_MINUTE, ONE_DAY),
        parameters=(series.METRIC, series.INTERVAL, series.FROM, series.TO),
        costly=True,
        example=f"{CHANNEL}/stats/series?metric=transactions&interval=day",
    ),
    ChannelRoute(
        path=f"{CHANNEL}/certificates",
        handler=certificates.list_certificates,
        tag=_AUDIT,
        body_type=CertificatePage,
        parameters=(LIMIT, CURSOR, certificates.ORDER, *certificates.FILTERS),
        example=f"{CHANNEL}/certificates?accepted=true",
    ),
    ChannelRoute(
        path=f"{CHANNEL}/certificates/{{fingerprint}}",
        handler=certificates.get_certificate,
        tag=_AUDIT,
        body_type=CertificateDetail,
        example=f"{CHANNEL}/certificates/{{fingerprint}}",
    ),
    ChannelRoute(
        path=f"{CHANNEL}/audit",
        handler=audit.get_audit,
        tag=_AUDIT,
        body_type=Audit,
        cache_controls=(NO_STORE,),
        example=f"{CHANNEL}/audit",
    ),
    ChannelRoute(
        path=f"{CHANNEL}/audit/discrepancies",
        handler=audit.list_discrepancies,
        tag=_AUDIT,
        body_type=DiscrepancyList,
        problems=("not-reconciled", "business-unavailable"),
        cache_controls=(NO_STORE,),
        parameters=(LIMIT, CURSOR, audit.KIND, audit.STATE),
        example=f"{CHANNEL}/audit/discrepancies",
    ),
    StreamRoute(
        path=f"{CHANNEL}/stream",
        handler=open_stream,
        tag=_LEDGER,
        body_type=StreamMessage,
        content_type=EVENT_STREAM,
        problems=("replay-too-old", "replay-ahead", "too-many-streams"),
        cache_controls=(NO_STORE,),
        parameters=STREAM_PARAMETERS,
        example=f"{CHANNEL}/stream?types=block",
    ),
    *OPERATION_ROUTES,
)
