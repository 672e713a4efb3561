"""Prints discrepancies: what the ledger says, what the row says, and what to do."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from cli.output.console import escape_control_characters
from reconciliation.reports import Discrepancy, DiscrepancyKind

MEANINGS: Final[Mapping[str, str]] = {
    DiscrepancyKind.CONTRADICTS_LEDGER: (
        "The row has another outcome or block than the ledger. The ledger is right. A settled row "
        "is never changed automatically: find out who wrote it, then correct it, or set it back to "
        "pending, so that it is settled again."
    ),
    DiscrepancyKind.NOT_ON_LEDGER: (
        "No block has the transaction, although the grace period has ended and every block of the "
        "peer is stored. The transaction was never submitted, was never ordered, or was sent to "
        "another channel: submit it again, or mark the row as failed."
    ),
    DiscrepancyKind.IMPOSSIBLE_HASH: (
        "No valid transaction can have this id, because an id has 64 hexadecimal digits. Correct "
        "the row. If the application writes this text while it has no hash yet, add it to "
        "reconcile.placeholders."
    ),
    DiscrepancyKind.MISSING_ROW: (
        "The ledger has a valid transaction of the business chaincode, and no row names it. The "
        "application lost the row, or the transaction was submitted without the application: "
        "insert the row. If such a transaction needs no row, correct reconcile.functions."
    ),
    DiscrepancyKind.AMOUNT_DIFFERS: (
        "The amount of the row differs from the amount in the transaction's event. Amounts are "
        "never changed automatically: find out which one is right, then correct the row, or send a "
        "transaction that compensates for the difference."
    ),
    DiscrepancyKind.REFUSED: (
        "PostgreSQL refuses to update the row: a constraint or a trigger prevents it, as the error "
        "says. Remove the cause; the next sweep settles the row."
    ),
}
"""What each kind of discrepancy means, and what to do."""

_UNKNOWN_KIND = "A newer version of this program found this kind of discrepancy and explains it."


def print_discrepancies(discrepancies: Sequence[Discrepancy]) -> None:
    """Print each discrepancy with both sides, then the meaning of each kind."""
    for discrepancy in discrepancies:
        _print(discrepancy)
    for kind in dict.fromkeys(discrepancy.kind for discrepancy in discrepancies):
        click.echo(f"{_bold(kind)}: {MEANINGS.get(kind, _UNKNOWN_KIND)}")


def _print(discrepancy: Discrepancy) -> None:
    period = f"open since {discrepancy.opened_at:%Y-%m-%d %H:%M:%S} UTC"
    if discrepancy.closed_at is not None:
        period = (
            f"opened {discrepancy.opened_at:%Y-%m-%d %H:%M:%S} UTC, "
            f"closed {discrepancy.closed_at:%Y-%m-%d %H:%M:%S} UTC"
        )
    ledger = _describe(discrepancy.ledger) or "no such transaction"
    row = "none"
    if discrepancy.table:
        name = f"{discrepancy.table} {discrepancy.subject}"
        row = ", ".join(filter(None, (name, _describe(discrepancy.found))))
    click.echo(f"{_bold(discrepancy.kind)}  {period}")
    for name, value in (("hash", discrepancy.tx_hash), ("ledger", ledger), ("row", row)):
        click.echo(f"  {name:<8}{escape_control_characters(value)}")
    click.echo()


def _describe(side: Mapping[str, Any]) -> str:
    """Return a side's fields as text, `status VALID, block 7`.

    The hash has a line of its own, and the status tells whether the transaction is valid.
    """
    return ", ".join(
        f"{name} {value}" for name, value in side.items() if name not in ("hash", "valid")
    )


def _bold(kind: str) -> str:
    return click.style(escape_control_characters(kind), bold=True)
