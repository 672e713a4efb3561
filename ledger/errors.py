"""Errors of a ledger. A retry does not mend them: the cause is in the data, not in a server."""


class LedgerError(Exception):
    """The base class; the message says what happened, what it means and what to do."""


class CorruptBlockError(LedgerError):
    """A block whose parts do not agree with each other. No part of the block may be stored."""

    def __init__(self, block: int | None, field: str, expected: object, got: object) -> None:
        self.block, self.field, self.expected, self.got = block, field, expected, got
        subject = "block of unknown number" if block is None else f"block {block}"
        super().__init__(
            f"{subject}: {field}: expected {expected}, got {got}. The block was changed or "
            "truncated on its way, or its source is broken; no part of it was stored. Compare the "
            "block with the block of another peer."
        )


class ChainMismatchError(LedgerError):
    """A block that is consistent in itself but does not belong to the stored chain."""

    def __init__(self, block: int, field: str, expected: object, got: object, meaning: str) -> None:
        self.block, self.field, self.expected, self.got = block, field, expected, got
        super().__init__(f"block {block}: {field}: expected {expected}, got {got}. {meaning}")


class StoreFormatError(LedgerError):
    """A stored ledger in a format that this program does not know."""

    def __init__(self, block: int, stored: object, readable: range) -> None:
        super().__init__(
            f"the stored block {block} has format {stored!r}, and this program knows the formats "
            f"{readable.start} to {readable.stop - 1}: a newer program indexed the ledger, or the "
            "document was changed. Nothing was written. Update this program, or run "
            "`kindledger verify`."
        )


class StoreConflictError(LedgerError):
    """A stored document that differs from the document that the chain gives."""

    def __init__(
        self, collection: str, key: object, field: str, expected: object, got: object
    ) -> None:
        self.collection, self.key, self.field = collection, key, field
        self.expected, self.got = expected, got
        super().__init__(
            f"{collection} {key}: {field}: the chain says {expected}, stored is {got}. Stored data "
            "was changed, or belongs to another chain or start block; nothing was overwritten. "
            "Run `kindledger verify`, then index into an empty database."
        )
