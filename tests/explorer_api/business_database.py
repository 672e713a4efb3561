"""A business database whose failures a test chooses."""

import asyncio
from collections.abc import Sequence

from reconciliation.reports import (
    BusinessRows,
    BusinessUnavailableError,
    DiscrepancyKind,
    DiscrepancyPage,
    DiscrepancyState,
    SettlementStatus,
)
from tests.explorer_api.support import CHANNEL


class FailingBusinessReports:
    """Reports of a business database that has no rows, is unavailable, or hangs."""

    channel = CHANNEL

    def __init__(self) -> None:
        self.is_available = True
        self.hangs = False
        self.settlement = SettlementStatus(1, 1, 0, None, [], [])

    async def check(self) -> None:
        if self.hangs:
            await asyncio.sleep(60)
        if not self.is_available:
            raise BusinessUnavailableError("PostgreSQL does not answer")

    async def rows(self, tx_ids: Sequence[str]) -> dict[str, BusinessRows]:
        await self.check()
        return {tx_id: BusinessRows([], more=False) for tx_id in tx_ids}

    async def discrepancies(
        self, kind: DiscrepancyKind | None, state: DiscrepancyState, after: int | None, limit: int
    ) -> DiscrepancyPage:
        await self.check()
        return DiscrepancyPage([], None)

    async def status(self) -> SettlementStatus:
        await self.check()
        return self.settlement
