"""The discrepancies between rows and ledger, as PostgreSQL keeps them: open ones, and those that are over."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import asyncpg
from msgspec import Struct

from reconciliation.comparison import Finding
from reconciliation.postgres_servers import Connection
from reconciliation.reports import (
    Discrepancy,
    DiscrepancyCount,
    DiscrepancyKind,
    DiscrepancyPage,
    DiscrepancyState,
)

Subject = tuple[str, str]
"""A table and the key of its row; an empty table and a transaction id where no row is."""

_OPEN: Final = """
INSERT INTO ledger_discrepancies AS d (channel, kind, table_name, subject, tx_hash, ledger, found)
SELECT $1, f.kind, f.table_name, f.subject, f.tx_hash, f.ledger::jsonb, f.found::jsonb
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
  AS f(kind, table_name, subject, tx_hash, ledger, found)
ORDER BY f.kind, f.table_name, f.subject
ON CONFLICT (channel, kind, table_name, subject) WHERE closed_at IS NULL DO UPDATE
SET tx_hash = excluded.tx_hash, ledger = excluded.ledger, found = excluded.found, updated_at = now()
WHERE (d.tx_hash, d.ledger, d.found) IS DISTINCT FROM (excluded.tx_hash, excluded.ledger, excluded.found)
RETURNING xmax = 0 AS is_new, kind, table_name, subject
"""
_CLOSE: Final = """
UPDATE ledger_discrepancies AS d SET closed_at = now(), updated_at = now()
FROM unnest($2::text[], $3::text[]) AS e(table_name, subject)
WHERE d.channel = $1 AND d.closed_at IS NULL AND d.table_name = e.table_name AND d.subject = e.subject
  AND NOT EXISTS (
    SELECT FROM unnest($4::text[], $5::text[], $6::text[]) AS f(kind, table_name, subject)
    WHERE f.kind = d.kind AND f.table_name = d.table_name AND f.subject = d.subject)
RETURNING d.id
"""
_ANY: Final = (
    "SELECT EXISTS (SELECT FROM ledger_discrepancies WHERE channel = $1 AND closed_at IS NULL)"
)
_PAGE: Final = """
SELECT id, table_name, subject, tx_hash FROM ledger_discrepancies
WHERE channel = $1 AND closed_at IS NULL AND id > $2 ORDER BY id LIMIT $3
"""
_COUNTS: Final = """
SELECT kind, count(*) AS count, min(opened_at) AS oldest FROM ledger_discrepancies
WHERE channel = $1 AND closed_at IS NULL GROUP BY kind ORDER BY kind
"""
_LIST: Final = """
SELECT id, channel, kind, table_name, subject, tx_hash, ledger, found, opened_at, updated_at, closed_at
FROM ledger_discrepancies
WHERE channel = $1 AND ($2::text IS NULL OR kind = $2)
  AND (closed_at IS NULL AND $3 OR closed_at IS NOT NULL AND $4) AND id < $5 AND id >= $6
ORDER BY id DESC LIMIT $7
"""
"""$3 and $4: whether open ones, and those that are over; ids below $5, from $6 on."""
_END: Final = (
    "SELECT id FROM ledger_discrepancies WHERE id < $1 ORDER BY id DESC OFFSET $2 - 1 LIMIT 1"
)
_OPEN_END: Final = """
SELECT id FROM ledger_discrepancies
WHERE channel = $3 AND closed_at IS NULL AND id < $1 ORDER BY id DESC OFFSET $2 - 1 LIMIT 1
"""
_ABOVE_ALL: Final = 2**63 - 1

LOOKED_THROUGH: Final = 100_000
"""For one page: what is asked for may be rare among them."""


class Open(Struct, frozen=True):
    """An open discrepancy, as far as it takes to look again."""

    id: int
    table: str
    subject: str
    hash: str


async def keep(
    connection: Connection, channel: str, judged: Iterable[Subject], found: Sequence[Finding]
) -> tuple[list[Finding], int]:
    """Opens or updates what was found, closes what else is open for the judged subjects.

    Returns what is new, and how many were closed.
    """
    by_key = {(finding.kind.value, finding.table, finding.subject): finding for finding in found}
    opened: list[Finding] = []
    if by_key:
        records = await connection.fetch(_OPEN, channel, *_columns(by_key.values()))
        opened = [
            by_key[kind, table, subject] for is_new, kind, table, subject in records if is_new
        ]
    if not await connection.fetchval(_ANY, channel):
        return opened, 0
    closed = await connection.fetch(
        _CLOSE, channel, *_transposed(judged, 2), *_transposed(by_key, 3)
    )
    return opened, len(closed)


def _columns(found: Iterable[Finding]) -> list[list[Any]]:
    rows = [
        (f.kind.value, f.table, f.subject, f.hash, json.dumps(f.ledger), json.dumps(f.found))
        for f in found
    ]
    return _transposed(rows, 6)


def _transposed(rows: Iterable[Sequence[Any]], width: int) -> list[list[Any]]:
    """The columns of rows, also of none."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


async def open_page(connection: Connection, channel: str, after: int, limit: int) -> list[Open]:
    """Open discrepancies in the order of their ids, from the one after `after` on."""
    return [Open(*record) for record in await connection.fetch(_PAGE, channel, after, limit)]


async def counts(connection: Connection, channel: str) -> list[DiscrepancyCount]:
    """How many are open, by kind."""
    return [DiscrepancyCount(*record) for record in await connection.fetch(_COUNTS, channel)]


async def listed(
    connection: Connection, channel: str, kind: DiscrepancyKind | None, *, closed: bool, limit: int
) -> list[Discrepancy]:
    """Discrepancies, the newest first; with `closed` also those that are over."""
    state = DiscrepancyState.ALL if closed else DiscrepancyState.OPEN
    return await _selected(connection, channel, kind, *_flags(state), _ABOVE_ALL, 0, limit)


async def page(
    connection: Connection,
    channel: str,
    kind: DiscrepancyKind | None,
    state: DiscrepancyState,
    *,
    after: int | None,
    limit: int,
) -> DiscrepancyPage:
    """Discrepancies, the newest first, from the one after `after` on; `LOOKED_THROUGH` are looked at for a page."""
    above = _ABOVE_ALL if after is None else min(after, _ABOVE_ALL)
    if state is DiscrepancyState.OPEN:
        end = await connection.fetchval(_OPEN_END, above, LOOKED_THROUGH, channel)
    else:
        end = await connection.fetchval(_END, above, LOOKED_THROUGH)
    found = await _selected(connection, channel, kind, *_flags(state), above, end or 0, limit + 1)
    if len(found) > limit:
        end = found[limit - 1].id
    return DiscrepancyPage(found[:limit], end)


def _flags(state: DiscrepancyState) -> tuple[bool, bool]:
    """Whether open ones are meant, and those that are over."""
    return state is not DiscrepancyState.CLOSED, state is not DiscrepancyState.OPEN


async def _selected(connection: Connection, *values: object) -> list[Discrepancy]:
    """What `_LIST` gives for these parameters."""
    return [_discrepancy(record) for record in await connection.fetch(_LIST, *values)]


def _discrepancy(record: asyncpg.Record) -> Discrepancy:
    values = list(record)
    values[6:8] = (json.loads(document) for document in values[6:8])
    return Discrepancy(*values)
