"""The discrepancies between rows and ledger in PostgreSQL: open ones, and closed ones."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import asyncpg
from msgspec import Struct

from ledger.position import BlockNumber
from reconciliation.comparison import DiscrepancyFinding
from reconciliation.connection import Connection
from reconciliation.reports import (
    Discrepancy,
    DiscrepancyCount,
    DiscrepancyKind,
    DiscrepancyPage,
    DiscrepancyState,
)

DiscrepancySubject = tuple[str, str]
"""A table and the key of its row; without a row an empty table and a transaction id."""

SCAN_LIMIT: Final = 100_000
"""The number of discrepancies that are searched for one page.

Without this limit a page of a rare kind could read the whole table.
"""

_OPEN: Final = """
INSERT INTO ledger_discrepancies AS d (channel, kind, table_name, subject, tx_hash, ledger, found)
SELECT $1, f.kind, f.table_name, f.subject, f.tx_hash, f.ledger::jsonb, f.found::jsonb
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
  AS f(kind, table_name, subject, tx_hash, ledger, found)
ORDER BY f.kind, f.table_name, f.subject
ON CONFLICT (channel, kind, table_name, subject) WHERE closed_at IS NULL DO UPDATE
SET tx_hash = excluded.tx_hash, ledger = excluded.ledger, found = excluded.found, updated_at = now()
WHERE (d.tx_hash, d.ledger, d.found)
  IS DISTINCT FROM (excluded.tx_hash, excluded.ledger, excluded.found)
RETURNING xmax = 0 AS is_new, kind, table_name, subject
"""
_CLOSE: Final = """
UPDATE ledger_discrepancies AS d SET closed_at = now(), updated_at = now()
FROM unnest($2::text[], $3::text[]) AS e(table_name, subject)
WHERE d.channel = $1 AND d.closed_at IS NULL
  AND d.table_name = e.table_name AND d.subject = e.subject
  AND NOT EXISTS (
    SELECT FROM unnest($4::text[], $5::text[], $6::text[]) AS f(kind, table_name, subject)
    WHERE f.kind = d.kind AND f.table_name = d.table_name AND f.subject = d.subject)
RETURNING d.id
"""
_ANY_OPEN: Final = (
    "SELECT EXISTS (SELECT FROM ledger_discrepancies WHERE channel = $1 AND closed_at IS NULL)"
)
_OPEN_PAGE: Final = """
SELECT id, table_name, subject, tx_hash FROM ledger_discrepancies
WHERE channel = $1 AND closed_at IS NULL AND id > $2 ORDER BY id LIMIT $3
"""
_COUNT_OPEN: Final = """
SELECT kind, count(*) AS count, min(opened_at) AS oldest FROM ledger_discrepancies
WHERE channel = $1 AND closed_at IS NULL GROUP BY kind ORDER BY kind
"""
_SELECT: Final = """
SELECT id, channel, kind, table_name, subject, tx_hash, ledger, found,
       opened_at, updated_at, closed_at
FROM ledger_discrepancies
"""
_NEWEST: Final = f"""{_SELECT}
WHERE channel = $1 AND ($2::text IS NULL OR kind = $2)
  AND (closed_at IS NULL AND $3 OR closed_at IS NOT NULL AND $4) AND id < $5 AND id >= $6
ORDER BY id DESC LIMIT $7
"""
"""$3 and $4: whether open ones and closed ones are selected. Ids below $5, and not below $6."""
_OPEN_OF_BLOCKS: Final = f"""{_SELECT}
WHERE channel = $1 AND closed_at IS NULL AND id > $4 AND EXISTS (
    SELECT FROM unnest(ARRAY[ledger->'block', found->'block']) AS named(block)
    WHERE CASE WHEN jsonb_typeof(named.block) = 'number'
          THEN named.block::numeric BETWEEN $2::int8 AND $3::int8 END)
ORDER BY id LIMIT $5
"""
_SCAN_END: Final = (
    "SELECT id FROM ledger_discrepancies WHERE id < $1 ORDER BY id DESC OFFSET $2 - 1 LIMIT 1"
)
_OPEN_SCAN_END: Final = """
SELECT id FROM ledger_discrepancies
WHERE channel = $3 AND closed_at IS NULL AND id < $1 ORDER BY id DESC OFFSET $2 - 1 LIMIT 1
"""
_ABOVE_ALL_IDS: Final = 2**63 - 1


class OpenDiscrepancy(Struct, frozen=True):
    """An open discrepancy: the values that are needed to compare its row again."""

    id: int
    table: str
    subject: str
    hash: str


async def record_findings(
    connection: Connection,
    channel: str,
    compared: Iterable[DiscrepancySubject],
    findings: Sequence[DiscrepancyFinding],
) -> tuple[list[DiscrepancyFinding], int]:
    """Open or update the discrepancies that were found, and close others of the compared subjects.

    Returns the findings that are new, and the number of discrepancies that were closed.
    """
    by_key = {(finding.kind.value, finding.table, finding.subject): finding for finding in findings}
    opened: list[DiscrepancyFinding] = []
    if by_key:
        records = await connection.fetch(_OPEN, channel, *_columns(by_key.values()))
        opened = [
            by_key[kind, table, subject] for is_new, kind, table, subject in records if is_new
        ]
    if not await connection.fetchval(_ANY_OPEN, channel):
        return opened, 0
    closed = await connection.fetch(
        _CLOSE, channel, *_transposed(compared, 2), *_transposed(by_key, 3)
    )
    return opened, len(closed)


def _columns(findings: Iterable[DiscrepancyFinding]) -> list[list[Any]]:
    rows = [
        (
            *(finding.kind.value, finding.table, finding.subject, finding.hash),
            *(json.dumps(finding.ledger), json.dumps(finding.found)),
        )
        for finding in findings
    ]
    return _transposed(rows, 6)


def _transposed(rows: Iterable[Sequence[Any]], width: int) -> list[list[Any]]:
    """Return the columns of the rows; empty columns if there are no rows."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


async def read_open_page(
    connection: Connection, channel: str, after: int, limit: int
) -> list[OpenDiscrepancy]:
    """Return the open discrepancies with the lowest ids above `after`."""
    records = await connection.fetch(_OPEN_PAGE, channel, after, limit)
    return [OpenDiscrepancy(*record) for record in records]


async def read_open_of_blocks(
    connection: Connection,
    channel: str,
    first: BlockNumber,
    last: BlockNumber,
    *,
    after: int,
    limit: int,
) -> list[Discrepancy]:
    """Return open discrepancies whose row or transaction names one of the blocks `first` to `last`.

    They have the lowest ids above `after`, in ascending order.
    """
    records = await connection.fetch(_OPEN_OF_BLOCKS, channel, first, last, after, limit)
    return [_discrepancy(record) for record in records]


async def count_open(connection: Connection, channel: str) -> list[DiscrepancyCount]:
    """Return the number of open discrepancies of each kind."""
    return [DiscrepancyCount(*record) for record in await connection.fetch(_COUNT_OPEN, channel)]


async def read_newest(
    connection: Connection,
    channel: str,
    kind: DiscrepancyKind | None,
    *,
    include_closed: bool,
    limit: int,
) -> list[Discrepancy]:
    """Return the newest discrepancies, the newest first."""
    state = DiscrepancyState.ALL if include_closed else DiscrepancyState.OPEN
    return await _select(connection, channel, kind, *_state_flags(state), _ABOVE_ALL_IDS, 0, limit)


async def read_page(
    connection: Connection,
    channel: str,
    kind: DiscrepancyKind | None,
    state: DiscrepancyState,
    *,
    after: int | None,
    limit: int,
    scan_limit: int = SCAN_LIMIT,
) -> DiscrepancyPage:
    """Return the discrepancies with the highest ids below `after`, the newest first.

    At most `scan_limit` discrepancies are searched for the page.
    """
    below = _ABOVE_ALL_IDS if after is None else min(after, _ABOVE_ALL_IDS)
    if state is DiscrepancyState.OPEN:
        scan_end = await connection.fetchval(_OPEN_SCAN_END, below, scan_limit, channel)
    else:
        scan_end = await connection.fetchval(_SCAN_END, below, scan_limit)
    selected = await _select(
        connection, channel, kind, *_state_flags(state), below, scan_end or 0, limit + 1
    )
    items = selected[:limit]
    return DiscrepancyPage(items, items[-1].id if len(selected) > limit else scan_end)


def _state_flags(state: DiscrepancyState) -> tuple[bool, bool]:
    """Return whether open discrepancies are selected, and whether closed ones are."""
    return state is not DiscrepancyState.CLOSED, state is not DiscrepancyState.OPEN


async def _select(connection: Connection, *parameters: object) -> list[Discrepancy]:
    """Return the discrepancies that `_NEWEST` selects."""
    return [_discrepancy(record) for record in await connection.fetch(_NEWEST, *parameters)]


def _discrepancy(record: asyncpg.Record) -> Discrepancy:
    values = dict(record)
    values["table"] = values.pop("table_name")
    for side in ("ledger", "found"):
        values[side] = json.loads(values[side])
    return Discrepancy(**values)
