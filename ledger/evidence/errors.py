"""The error of making evidence."""

from ledger.errors import LedgerError


class EvidenceError(LedgerError):
    """A transaction of which no bundle can be made that proves it."""

    def __init__(self, number: int, index: int, reason: str) -> None:
        self.number, self.index, self.reason = number, index, reason
        super().__init__(
            f"block {number}, transaction {index}: no evidence can be made: {reason}. A bundle "
            "proves who signed a transaction and what it says, and this one would prove nothing."
        )
