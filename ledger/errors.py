"""What can be wrong with a ledger. None of these goes away by trying again."""


class LedgerError(Exception):
    """Base: the message says what happened, what it means and what to do."""


class CorruptBlockError(LedgerError):
    """A block that contradicts itself: nothing of it may be stored."""

    def __init__(self, block: int | None, field: str, expected: object, got: object) -> None:
        self.block, self.field, self.expected, self.got = block, field, expected, got
        where = "a block that names no number" if block is None else f"block {block}"
        super().__init__(
            f"{where}: {field}: expected {expected}, got {got}. The block was changed or cut on its way, or its "
            "source is broken; nothing of it was stored. Compare with another peer."
        )


class ChainMismatchError(LedgerError):
    """A block that is sound in itself but does not belong to the chain that is stored."""

    def __init__(self, block: int, field: str, expected: object, got: object, meaning: str) -> None:
        self.block, self.field, self.expected, self.got = block, field, expected, got
        super().__init__(f"block {block}: {field}: expected {expected}, got {got}. {meaning}")


class StoreConflictError(LedgerError):
    """The store already holds something else where a document of this chain belongs."""

    def __init__(
        self, collection: str, key: object, field: str, expected: object, got: object
    ) -> None:
        self.collection, self.key, self.field, self.expected, self.got = (
            collection,
            key,
            field,
            expected,
            got,
        )
        super().__init__(
            f"{collection} {key}: {field}: the chain says {expected}, stored is {got}. Stored data was changed, or "
            "belongs to another chain or start block; nothing was overwritten. Run `kindledger verify`, then index "
            "into an empty database."
        )
