"""The SQL for one table of the mapping. Names are quoted and were found in the catalogue; values are parameters."""

from collections.abc import Iterable, Mapping

from reconciliation.mapping import Table

Types = Mapping[str, str]
"""The type of each column, qualified and quoted, as it stands in a cast."""


class Statements:
    """What is asked of one table. Every row comes with `key`, `hash`, `state`, `block`, `amount`, `campaign`, `old`.

    Parameters that all selections begin with: $1 the placeholders, $2 the grace period in seconds.
    """

    def __init__(self, schema: str, table: Table, types: Types) -> None:
        self._table, self._types = table, types
        self._from = f"{quoted(schema)}.{quoted(table.name)} AS t"
        self._key, self._hash = _column(table.key), _column(table.hash)
        key_type, hash_type = types[table.key], types[table.hash]
        selected = f"SELECT {self._row()} FROM {self._from}"  # noqa: S608 - quoted names
        page = f"($3::text IS NULL OR {self._key} > $3::text::{key_type}) ORDER BY {self._key} LIMIT $4"
        self.by_hash = (
            f"{selected} JOIN unnest($3::text[]) AS f(hash) ON {self._hash} = f.hash::{hash_type}"
        )
        self.by_key = (
            f"{selected} JOIN unnest($3::text[]) AS f(key) ON {self._key} = f.key::{key_type}"
        )
        """$3 hashes, or keys."""
        self.page = f"{selected} WHERE {page}"
        """$3 the key to begin after, or NULL; $4 how many."""
        named = f"{self._hash} = f.hash::{hash_type} AND {self._is_hash()}"
        self.shown = (
            f"SELECT f.hash AS asked, found.* FROM unnest($2::text[]) AS f(hash) "  # noqa: S608
            f"CROSS JOIN LATERAL (SELECT {self._shown_row()} FROM {self._from} WHERE {named} LIMIT $3) AS found"
        )
        """What people are shown of the rows with these hashes: $1 the placeholders, $2 hashes, $3 how many of each."""
        self.pending_page = self.count_pending = self.settle = self.settle_free = ""
        if table.status is not None:
            self.pending_page = (
                f"{selected} WHERE {_column(table.status)} = $5 AND {self._is_hash()} AND {page}"
            )
            """$5 the pending state."""
            made = _cast(table.created_at, "timestamptz")
            pending = f"SELECT {self._row()}, {made} AS made FROM {self._from} WHERE {_column(table.status)} = $3"  # noqa: S608
            self.count_pending = (
                "SELECT count(hash), count(hash) FILTER (WHERE old), min(made) FILTER (WHERE hash IS NOT NULL), "  # noqa: S608
                f"count(*) - count(hash) FROM ({pending}) AS pending"
            )
            """Rows that wait for the ledger, the old ones of them, when the first was made; rows without a hash.

            $3 the pending state.
            """
            self._settling(table.status)

    def _settling(self, status: str) -> None:
        """$1 the placeholders; $2 hashes, $3 valid, $4 blocks, $5 times in ms; $6 to $8 states.

        $3 to $5 come as `array_text`; the states are pending, confirmed, failed.
        """
        arrays = "$2::text[], $3::text::bool[], $4::text::int8[], $5::text::int8[]"
        facts = f"unnest({arrays}) AS f(hash, valid, block, at_ms)"
        named = f"{self._hash} = f.hash::{self._types[self._table.hash]}"
        waiting = f"{_column(status)} = $6 AND {self._is_hash()}"
        update = f"UPDATE {self._from} SET {self._changes(status)}"  # noqa: S608 - quoted names
        self.settle = (
            f"{update} FROM {facts} WHERE {named} AND {waiting} RETURNING {self._settled_row()}"
        )
        free = (
            f"SELECT {self._key} AS key, f.* FROM {self._from} JOIN {facts} ON {named} WHERE {waiting} "  # noqa: S608
            f"ORDER BY {self._key} FOR UPDATE OF t SKIP LOCKED"
        )
        self.settle_free = (
            f"WITH f AS MATERIALIZED ({free}) {update} FROM f WHERE {self._key} = f.key AND {waiting} "
            f"RETURNING {self._settled_row()}"
        )
        """The same for those rows that no other transaction holds."""

    def _settled_row(self) -> str:
        """Key, amount, campaign: what is not known of a settled row, as in `_row`; and by which hash it was found."""
        table = self._table
        columns = (
            f"{self._key}::text",
            "f.hash",
        )  # to a column of type char, with blanks at the end it is the same
        return ", ".join((*columns, _cast(table.amount, "numeric"), _cast(table.campaign, "text")))

    def _changes(self, status: str) -> str:
        table = self._table
        changes = {status: "CASE WHEN f.valid THEN $7::text ELSE $8::text END"}
        if table.block is not None:
            changes[table.block] = "f.block"
        if table.confirmed_at is not None:
            changes[table.confirmed_at] = (
                "CASE WHEN f.valid THEN coalesce(to_timestamp(f.at_ms / 1000::float8), now()) END"
            )
        casts = (
            f"{quoted(name)} = ({value})::{self._types[name]}" for name, value in changes.items()
        )
        return ", ".join(casts)

    def _is_hash(self) -> str:
        """A ledger may hold whatever a client made up, also what is a placeholder here."""
        return f"{self._hash}::text NOT LIKE ALL ($1::text[])"

    def _shown_row(self) -> str:
        """Key, hash, state, block, amount, campaign, and when it was made and confirmed."""
        table = self._table
        values = (
            f"{self._key}::text AS key",
            f"{self._hash}::text",
            _cast(table.status, "text"),
            _cast(table.block, "int8"),
            f"{_cast(table.amount, 'numeric')}::text",
            _cast(table.campaign, "text"),
            _time(table.created_at),
            _time(table.confirmed_at),
        )
        return ", ".join(values)

    def _row(self) -> str:
        table = self._table
        shown = {
            "key": f"{self._key}::text",
            "hash": f"CASE WHEN {self._is_hash()} THEN {self._hash}::text END",
            "state": _cast(table.status, "text"),
            "block": _cast(table.block, "int8"),
            "amount": _cast(table.amount, "numeric"),
            "campaign": _cast(table.campaign, "text"),
            "old": f"coalesce({_cast(table.created_at, 'timestamptz')} < {_GRACE_BEGAN}, true)",
        }
        return ", ".join(f"{value} AS {name}" for name, value in shown.items())


_GRACE_BEGAN = "now() - make_interval(secs => $2::float8)"


def array_text(values: Iterable[int | None]) -> str:
    """An array of numbers or truth values as PostgreSQL writes it: encoding it element by element takes far longer."""
    return "{" + ",".join("NULL" if value is None else str(value) for value in values) + "}"


def quoted(name: str) -> str:
    """An identifier as PostgreSQL takes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def _column(name: str) -> str:
    return f"t.{quoted(name)}"


def _cast(name: str | None, to: str) -> str:
    return f"NULL::{to}" if name is None else f"{_column(name)}::{to}"


def _time(name: str | None) -> str:
    """NULL also for infinity, and for years that a client cannot represent."""
    value = _cast(name, "timestamptz")
    return f"CASE WHEN {value} >= '0001-01-01' AND {value} < '10000-01-01' THEN {value} END"
