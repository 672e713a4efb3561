"""Reads reports of the business database, as the explorer API reads them."""

import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cli.assembly.business_reports import business_reports
from cli.configuration.settings import Settings
from reconciliation.mapping import KINDLEDGER
from reconciliation.postgres_reports import REPORT_POOL_OPTIONS, PostgresReports, ReportLimits
from reconciliation.postgres_servers import PostgresServers
from reconciliation.reports import BusinessReports, BusinessUnavailableError
from tests.reconciliation.growing_ledger import CHANNEL

ID = "ab" * 32
OTHER_ID = "cd" * 32
ANSWER_WITHIN_S = 6.0
"""A call without an answer ends after 2 s; without this limit it would end after 6.8 s."""
AT_ONCE_S = 1.5
"""Less than the 2 s of a call that waits for an answer."""


@asynccontextmanager
async def reports_from(
    dsn: str, *replicas: str, **reconcile: Any
) -> AsyncIterator[BusinessReports]:
    """Yield the reports as the API gets them; `reconcile` is the section of the configuration."""
    postgres = {"dsn": dsn, "replica_dsns": list(replicas)}
    settings = {"postgres": postgres, "channels": {CHANNEL: {}}, "reconcile": reconcile}
    async with business_reports(Settings.model_validate(settings)) as reports:
        assert reports is not None
        yield reports


@asynccontextmanager
async def limited_reports(dsn: str, limits: ReportLimits) -> AsyncIterator[BusinessReports]:
    """Yield the reports with other limits than the API has."""
    async with PostgresServers(dsn, (), REPORT_POOL_OPTIONS) as servers:
        yield PostgresReports(servers, CHANNEL, KINDLEDGER, 120.0, limits)


async def error_message(call: Awaitable[object], within_s: float = ANSWER_WITHIN_S) -> str:
    """Return the message for clients of a call that must fail in time."""
    began = time.monotonic()
    with pytest.raises(BusinessUnavailableError) as error:
        await call
    assert time.monotonic() - began < within_s
    return str(error.value)


async def is_available(reports: BusinessReports) -> bool:
    """Return whether rows can be read."""
    try:
        await reports.rows([ID])
    except BusinessUnavailableError:
        return False
    return True
