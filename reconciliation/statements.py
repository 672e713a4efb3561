"""The SQL statements for one business table.

Names are quoted and were found in PostgreSQL's catalogue; values are parameters.
"""

from collections.abc import Iterable, Mapping

from reconciliation.mapping import BusinessTable

ColumnTypes = Mapping[str, str]
"""The type of each column, qualified and quoted for use in a cast."""


class TableStatements:
    """The statements for one table.

    Rows are read as `key`, `hash`, `state`, `block`, `amount`, `campaign`, `grace_over`. The first
    parameters of the statements that read rows are $1, the placeholders, and $2, the grace period
    in seconds.
    """

    def __init__(self, schema: str, table: BusinessTable, types: ColumnTypes) -> None:
        self._table, self._types = table, types
        self._from = f"{quoted(schema)}.{quoted(table.name)} AS t"
        self._key, self._hash = _column(table.key), _column(table.hash)
        key_type, hash_type = types[table.key], types[table.hash]
        select = f"SELECT {self._compared_columns()} FROM {self._from}"  # noqa: S608 - quoted names
        page = (
            f"($3::text IS NULL OR {self._key} > $3::text::{key_type}) "
            f"ORDER BY {self._key} LIMIT $4"
        )
        self.by_hash = (
            f"{select} JOIN unnest($3::text[]) AS f(hash) ON {self._hash} = f.hash::{hash_type}"
        )
        """$3: hashes."""
        self.by_key = (
            f"{select} JOIN unnest($3::text[]) AS f(key) ON {self._key} = f.key::{key_type}"
        )
        """$3: keys."""
        self.page = f"{select} WHERE {page}"
        """$3: the last key of the page before, or NULL. $4: the number of rows."""
        self.period_page = (
            f"{select}, (SELECT $5::timestamptz AS since, $6::timestamptz AS until, "
            f"$7::int8 AS first, $8::int8 AS last) AS period "
            f"WHERE ({self._in_period()}) AND {self._has_hash()} AND {page}"
        )
        """Parameters as in `page`. $5 and $6: a range of times, NULL for no bound. $7, $8: blocks.

        The rows with a hash that were created or confirmed in the range, or name one of the blocks.
        A table without columns for any of these has all its rows in every range.
        """
        self.report = self._report_statement()
        """The rows with these hashes, for the API.

        $1: the placeholders. $2: hashes. $3: the number of rows for each hash.
        """
        # A table without a status is never settled.
        self.pending_page = self.count_pending = self.settle = self.settle_unlocked = ""
        if table.status is not None:
            self.pending_page = (
                f"{select} WHERE {_column(table.status)} = $5 AND {self._has_hash()} AND {page}"
            )
            """Parameters as in `page`. $5: the pending state."""
            self.count_pending = self._count_pending_statement(table.status)
            """$3: the pending state."""
            self._build_settling_statements(table.status)

    def _report_statement(self) -> str:
        hash_type = self._types[self._table.hash]
        same_hash = f"{self._hash} = f.hash::{hash_type} AND {self._has_hash()}"
        rows = f"SELECT {self._report_columns()} FROM {self._from} WHERE {same_hash} LIMIT $3"  # noqa: S608
        return (
            f"SELECT f.hash AS spelling, found.* FROM unnest($2::text[]) AS f(hash) "  # noqa: S608
            f"CROSS JOIN LATERAL ({rows}) AS found"
        )

    def _count_pending_statement(self, status: str) -> str:
        """Return the statement that selects four values of the pending rows.

        The values are the number of rows with a hash, the number of these rows whose grace period
        is over, the time at which the first of these rows was created, and the number of rows
        without a hash.
        """
        created = _cast(self._table.created_at, "timestamptz")
        pending = (
            f"SELECT {self._compared_columns()}, {created} AS created "  # noqa: S608
            f"FROM {self._from} WHERE {_column(status)} = $3"
        )
        return (
            "SELECT count(hash), count(hash) FILTER (WHERE grace_over), "  # noqa: S608
            "min(created) FILTER (WHERE hash IS NOT NULL), "
            f"count(*) - count(hash) FROM ({pending}) AS pending"
        )

    def _build_settling_statements(self, status: str) -> None:
        """Build `settle`, and `settle_unlocked` for the rows that no other transaction has locked.

        $1: the placeholders. $2: hashes. $3: whether each transaction is valid. $4: its block. $5:
        the block's time in milliseconds. $3 to $5 are made by `array_text`. $6, $7 and $8: the
        pending, the confirmed and the failed state.
        """
        arrays = "$2::text[], $3::text::bool[], $4::text::int8[], $5::text::int8[]"
        transactions = f"unnest({arrays}) AS f(hash, valid, block, block_time_ms)"
        same_hash = f"{self._hash} = f.hash::{self._types[self._table.hash]}"
        is_pending = f"{_column(status)} = $6 AND {self._has_hash()}"
        update = f"UPDATE {self._from} SET {self._assignments(status)}"  # noqa: S608 - quoted names
        returning = f"RETURNING {self._settled_columns()}"
        self.settle = f"{update} FROM {transactions} WHERE {same_hash} AND {is_pending} {returning}"
        unlocked = (
            f"SELECT {self._key} AS key, f.* FROM {self._from} "  # noqa: S608
            f"JOIN {transactions} ON {same_hash} WHERE {is_pending} "
            f"ORDER BY {self._key} FOR UPDATE OF t SKIP LOCKED"
        )
        self.settle_unlocked = (
            f"WITH f AS MATERIALIZED ({unlocked}) {update} FROM f "
            f"WHERE {self._key} = f.key AND {is_pending} {returning}"
        )

    def _settled_columns(self) -> str:
        """Return the key, the hash that was searched for, the amount and the campaign.

        The hash comes from the parameter: a column of type char may hold it with blanks at the end.
        """
        amount = _cast(self._table.amount, "numeric")
        campaign = _cast(self._table.campaign, "text")
        return ", ".join((f"{self._key}::text", "f.hash", amount, campaign))

    def _assignments(self, status: str) -> str:
        table = self._table
        values = {status: "CASE WHEN f.valid THEN $7::text ELSE $8::text END"}
        if table.block is not None:
            values[table.block] = "f.block"
        if table.confirmed_at is not None:
            block_time = "to_timestamp(f.block_time_ms / 1000::float8)"
            values[table.confirmed_at] = f"CASE WHEN f.valid THEN coalesce({block_time}, now()) END"
        return ", ".join(
            f"{quoted(name)} = ({value})::{self._types[name]}" for name, value in values.items()
        )

    def _has_hash(self) -> str:
        """Return the condition that a row's hash is not a placeholder.

        Every statement needs it: a client may choose a placeholder as the id of a transaction.
        """
        return f"{self._hash}::text NOT LIKE ALL ($1::text[])"

    def _in_period(self) -> str:
        """Return the condition for the rows of a period."""
        table = self._table
        times = (
            f"({_column(name)}::timestamptz >= coalesce(period.since, '-infinity') AND "
            f"{_column(name)}::timestamptz < coalesce(period.until, 'infinity'))"
            for name in (table.created_at, table.confirmed_at)
            if name is not None
        )
        blocks = (
            ()
            if table.block is None
            else (f"{_column(table.block)}::int8 BETWEEN period.first AND period.last",)
        )
        return " OR ".join((*times, *blocks)) or "true"

    def _report_columns(self) -> str:
        """Return the columns of `BusinessRow`, in its order and without the table."""
        table = self._table
        columns = (
            f"{self._key}::text AS key",
            f"{self._hash}::text",
            _cast(table.status, "text"),
            _cast(table.block, "int8"),
            f"{_cast(table.amount, 'numeric')}::text",
            _cast(table.campaign, "text"),
            _time(table.created_at),
            _time(table.confirmed_at),
        )
        return ", ".join(columns)

    def _compared_columns(self) -> str:
        """Return the columns of `ComparedRow`, in its order and without the table."""
        table = self._table
        created = _cast(table.created_at, "timestamptz")
        columns = {
            "key": f"{self._key}::text",
            "hash": f"CASE WHEN {self._has_hash()} THEN {self._hash}::text END",
            "state": _cast(table.status, "text"),
            "block": _cast(table.block, "int8"),
            "amount": _cast(table.amount, "numeric"),
            "campaign": _cast(table.campaign, "text"),
            "grace_over": f"coalesce({created} < {_GRACE_BEGAN}, true)",
        }
        return ", ".join(f"{value} AS {name}" for name, value in columns.items())


_GRACE_BEGAN = "now() - make_interval(secs => $2::float8)"


def array_text(values: Iterable[int | None]) -> str:
    """Return an array of numbers or booleans as PostgreSQL writes it.

    asyncpg encodes an array element by element, which takes far longer.
    """
    return "{" + ",".join("NULL" if value is None else str(value) for value in values) + "}"


def quoted(name: str) -> str:
    """Return a name as a quoted identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def _column(name: str) -> str:
    return f"t.{quoted(name)}"


def _cast(name: str | None, to: str) -> str:
    return f"NULL::{to}" if name is None else f"{_column(name)}::{to}"


def _time(name: str | None) -> str:
    """Return the column; NULL for infinity and for years that Python cannot represent."""
    value = _cast(name, "timestamptz")
    return f"CASE WHEN {value} >= '0001-01-01' AND {value} < '10000-01-01' THEN {value} END"
