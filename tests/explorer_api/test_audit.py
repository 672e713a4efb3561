"""The audit says whether ledger and chain, and rows and ledger, are equal."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from ledger.mongodb.sync_state import (
    ChannelState,
    DifferenceCounts,
    Reconciliation,
    Verification,
    record_verification,
)
from reconciliation.reports import SettlementStatus
from tests.explorer_api.business_database import FailingBusinessReports
from tests.explorer_api.support import CHANNEL, Api, report_state, running_api


async def test_the_ledger_is_equal_only_after_a_comparison_with_the_chain(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    await report_state(client, database_name)
    assert (await api.channel("/audit"))["ledger"]["verdict"] == "unknown"
    compared = DifferenceCounts(0, 0, 0, 0)
    not_compared = DifferenceCounts(0, 0, 0, None)
    for height, differences, kinds, shown in (
        (1, 0, None, (1, "consistent")),
        (2, 0, not_compared, (2, "consistent")),
        (3, 0, compared, (3, "equal")),
        (4, 0, not_compared, (3, "equal")),
        (5, 2, compared, (5, "different")),
        (6, 0, not_compared, (5, "different")),
        (7, 1, not_compared, (7, "different")),
        (8, 0, not_compared, (8, "consistent")),
    ):
        verification = Verification(datetime.now(UTC), height, differences, kinds)
        await record_verification(client[database_name], CHANNEL, verification)
        ledger = (await api.channel("/audit"))["ledger"]
        assert (ledger["height"], ledger["verdict"]) == shown


async def test_rows_are_unknown_without_a_business_database_and_a_following_daemon(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    business = FailingBusinessReports()
    async with running_api(client, {CHANNEL: database_name}, business_reports=business) as api:
        for is_available, state, discrepancies, audited, verdict in (
            (True, ChannelState.STARTING, 1, None, "equal"),
            (False, ChannelState.STARTING, 0, 5, "unknown"),
            (False, ChannelState.STOPPED, 0, 5, "unknown"),
            (False, ChannelState.FOLLOWING, 0, 5, "equal"),
            (False, ChannelState.FOLLOWING, 0, 4, "unknown"),
            (False, ChannelState.FOLLOWING, 0, None, "unknown"),
            (False, ChannelState.FOLLOWING, 1, None, "different"),
        ):
            business.is_available = is_available
            due = None if audited is None else 5
            reported = Reconciliation(state, 0, 0, discrepancies, None, [], audited, due)
            await report_state(client, database_name, reconciliation=reported)
            assert (await api.channel("/audit"))["rows"]["verdict"] == verdict


@pytest.mark.parametrize(
    ("audited", "due", "verdict"),
    [
        (0, None, "unknown"),
        (0, 0, "unknown"),
        (5, None, "unknown"),
        (5, 6, "unknown"),
        (6, 6, "equal"),
        (9, None, "equal"),
    ],
)
async def test_rows_are_unknown_until_the_audit_has_reached_them(
    client: AsyncMongoClient[Any],
    database_name: str,
    audited: int,
    due: int | None,
    verdict: str,
) -> None:
    """Without a due height by the daemon, the audit must have reached the settled height."""
    business = FailingBusinessReports()
    business.settlement = SettlementStatus(9, audited, 0, None, [], [])
    async with running_api(client, {CHANNEL: database_name}, business_reports=business) as api:
        reported = Reconciliation(ChannelState.FOLLOWING, 9, 0, 0, None, [], None, due)
        await report_state(client, database_name, reconciliation=reported)
        rows = (await api.channel("/audit"))["rows"]
        assert (rows["verdict"], rows["height"]) == (verdict, audited)
