"""The discrepancies between rows and ledger, as PostgreSQL keeps them: open ones, and those that are over."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
from msgspec import Struct

from indexer.reconcile.compare import Finding, Kind
from indexer.reconcile.servers import Connection

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
_ANY: Final = "SELECT EXISTS (SELECT FROM ledger_discrepancies WHERE channel = $1 AND closed_at IS NULL)"
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
WHERE channel = $1 AND ($2::text IS NULL OR kind = $2) AND (closed_at IS NULL OR $3)
ORDER BY id DESC LIMIT $4
"""


class Open(Struct, frozen=True):
    """An open discrepancy, as far as it takes to look again."""

    id: int
    table: str
    subject: str
    hash: str


class Discrepancy(Struct, frozen=True, rename="camel"):
    """A discrepancy as it is shown: what the ledger says, and what was found."""

    id: int
    channel: str
    kind: str
    table: str
    subject: str
    tx_hash: str
    ledger: dict[str, Any]
    found: dict[str, Any]
    opened_at: datetime
    updated_at: datetime
    closed_at: datetime | None


class Count(Struct, frozen=True):
    """How many discrepancies of a kind are open, and since when the oldest one is."""

    kind: str
    count: int
    oldest: datetime


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
        opened = [by_key[kind, table, subject] for is_new, kind, table, subject in records if is_new]
    if not await connection.fetchval(_ANY, channel):
        return opened, 0
    closed = await connection.fetch(_CLOSE, channel, *_transposed(judged, 2), *_transposed(by_key, 3))
    return opened, len(closed)


def _columns(found: Iterable[Finding]) -> list[list[Any]]:
    rows = [(f.kind.value, f.table, f.subject, f.hash, json.dumps(f.ledger), json.dumps(f.found)) for f in found]
    return _transposed(rows, 6)


def _transposed(rows: Iterable[Sequence[Any]], width: int) -> list[list[Any]]:
    """The columns of rows, also of none."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


async def open_page(connection: Connection, channel: str, after: int, limit: int) -> list[Open]:
    """Open discrepancies in the order of their ids, from the one after `after` on."""
    return [Open(*record) for record in await connection.fetch(_PAGE, channel, after, limit)]


async def counts(connection: Connection, channel: str) -> list[Count]:
    """How many are open, by kind."""
    return [Count(*record) for record in await connection.fetch(_COUNTS, channel)]


async def listed(
    connection: Connection, channel: str, kind: Kind | None, *, closed: bool, limit: int
) -> list[Discrepancy]:
    """Discrepancies, the newest first; with `closed` also those that are over."""
    records = await connection.fetch(_LIST, channel, kind, closed, limit)
    return [_discrepancy(record) for record in records]


def _discrepancy(record: asyncpg.Record) -> Discrepancy:
    values = list(record)
    values[6:8] = (json.loads(document) for document in values[6:8])
    return Discrepancy(*values)
