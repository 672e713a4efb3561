"""The parts of the running service that handlers work with."""

import time
from dataclasses import dataclass, field

from msgspec import Struct

from explorer_api.http.compression import CompressedBodies
from explorer_api.http.request_metrics import ApiMetrics
from explorer_api.http.responses import EncodedResponse
from explorer_api.live.channels import Channels
from explorer_api.live.evidence import EvidenceBundles
from explorer_api.live.mongo_calls import MongoCalls
from explorer_api.live.raw_blocks import CheckedRawBlocks
from explorer_api.live.redis_cache import RedisCache
from explorer_api.live.response_cache import ResponseCache
from explorer_api.live.status_recorder import StatusRecorder
from explorer_api.live.status_since import StatusSince
from explorer_api.options import Options, ServiceLimits
from explorer_api.streams.feeds import Feeds
from explorer_api.streams.open_streams import OpenStreams
from explorer_api.streams.replays import Replays
from reconciliation.reports import BusinessReports
from runtime.single_flight import SingleFlight


class Documentation(Struct, frozen=True):
    """The encoded documentation, which is made once when the service starts.

    `openapi` is the OpenAPI document in JSON. `page` is the page for readers in HTML, and
    `page_policy` its Content-Security-Policy.
    """

    openapi: bytes
    page: bytes
    page_policy: str


@dataclass(frozen=True, kw_only=True)
class Services:
    """The parts of one running service, wired together by `create_app`."""

    options: Options
    limits: ServiceLimits
    version: str
    channels: Channels
    mongo_calls: MongoCalls
    response_cache: ResponseCache
    compressed_bodies: CompressedBodies
    redis_cache: RedisCache | None
    business_reports: BusinessReports | None
    request_metrics: ApiMetrics
    documentation: Documentation
    status_recorder: StatusRecorder
    open_streams: OpenStreams
    feeds: Feeds
    replays: Replays
    evidence: EvidenceBundles
    raw_blocks: CheckedRawBlocks = field(default_factory=CheckedRawBlocks)
    single_flight: SingleFlight[EncodedResponse] = field(default_factory=SingleFlight)
    status_since: StatusSince = field(default_factory=StatusSince)
    started_at: float = field(default_factory=time.monotonic)
    """The time of the start on the monotonic clock."""
