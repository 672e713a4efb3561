"""Parsed requests, as handlers receive them."""

from dataclasses import dataclass

from explorer_api.http.parameters import Query
from explorer_api.live.channels import Channel
from explorer_api.live.heads import HeadSnapshot
from explorer_api.routing.services import Services
from ledger.position import BlockNumber
from reconciliation.reports import BusinessReports


class StaleHeadError(Exception):
    """The requested object may be in a block above the known head: read the head and try again."""


@dataclass(frozen=True)
class Call:
    """A parsed request. `path` holds the percent-decoded bytes of the path variables."""

    services: Services
    path: dict[str, bytes]
    query: Query


@dataclass(frozen=True)
class ChannelCall(Call):
    """A parsed request about a channel, and the head up to which it is answered.

    `head_is_fresh` says whether the head was read after the request arrived.
    """

    channel: Channel
    snapshot: HeadSnapshot
    head_is_fresh: bool = False

    @property
    def last(self) -> BlockNumber:
        """The highest block that may be shown, -1 if there is none."""
        return self.snapshot.last

    @property
    def business_reports(self) -> BusinessReports | None:
        """The reports of the business database, None if it is not about this channel."""
        reports = self.services.business_reports
        return reports if reports is not None and reports.channel == self.channel.name else None

    def require_fresh_head(self) -> None:
        """Raise `StaleHeadError` unless the head is fresh, so that the head is read again.

        Handlers call this before they respond that an object does not exist: a newer block may
        have it.
        """
        if not self.head_is_fresh:
            raise StaleHeadError
