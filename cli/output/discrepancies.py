"""How discrepancies are shown to people: what the ledger says, what the row says, and what that means."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from cli.output.console import escaped
from reconciliation.reports import Discrepancy
from reconciliation.reports import DiscrepancyKind as Kind

MEANINGS: Final[Mapping[str, str]] = {
    Kind.CONTRADICTS_LEDGER: (
        "The row tells another outcome or block than the ledger, which is right. A settled row is never changed by "
        "itself: find out who wrote it, then correct it, or set it back to pending and it is settled again."
    ),
    Kind.NOT_ON_LEDGER: (
        "No block has the transaction, though the grace period is over and every block of the peer is here. It was "
        "never submitted, never ordered, or went to another channel: submit it anew, or mark the row as failed."
    ),
    Kind.IMPOSSIBLE_HASH: (
        "No valid transaction can have this id: it would be 64 hexadecimal digits. Correct the row; if it is what the "
        "application writes while it has no hash yet, add it to reconcile.placeholders."
    ),
    Kind.MISSING_ROW: (
        "The ledger has a valid transaction of the business chaincode that no row names. The application lost the row, "
        "or somebody submitted past it: enter the row; or, if none is due, correct reconcile.functions."
    ),
    Kind.AMOUNT_DIFFERS: (
        "The row has another amount than the transaction's event. Money is never touched: find out which of the two "
        "was meant, and correct the row, or send a transaction that makes up for it."
    ),
    Kind.REFUSED: (
        "PostgreSQL does not take the row as the ledger has it: a constraint or trigger is in the way, as its error "
        "says. Remove the cause; the next sweep settles the row."
    ),
}
"""By kind, what it means and what to do."""

_NEWER = "A newer version of this program found it, and knows what it means."


def print_discrepancies(found: Sequence[Discrepancy]) -> None:
    """Each with both sides, then once for each kind what it means."""
    for one in found:
        _print(one)
    for kind in dict.fromkeys(one.kind for one in found):
        click.echo(f"{_bold(kind)}: {MEANINGS.get(kind, _NEWER)}")


def _print(one: Discrepancy) -> None:
    period = f"since {one.opened_at:%Y-%m-%d %H:%M:%S} UTC"
    if one.closed_at is not None:
        period += f", over since {one.closed_at:%Y-%m-%d %H:%M:%S} UTC"
    ledger = _described(one.ledger) or "no such transaction"
    row = (
        ", ".join(filter(None, (f"{one.table} {one.subject}", _described(one.found))))
        if one.table
        else "none"
    )
    click.echo(f"{_bold(one.kind)}  {period}")
    for name, value in (("hash", one.tx_hash), ("ledger", ledger), ("row", row)):
        click.echo(f"  {name:<8}{escaped(value)}")
    click.echo()


def _described(side: Mapping[str, Any]) -> str:
    """`status VALID, block 7`; the hash and the outcome stand elsewhere."""
    return ", ".join(
        f"{name} {value}" for name, value in side.items() if name not in ("hash", "valid")
    )


def _bold(kind: str) -> str:
    return click.style(escaped(kind), bold=True)
