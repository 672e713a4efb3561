"""Errors of a ledger. A retry does not mend them: the cause is in the data, not in a server."""

from collections.abc import Sequence

from ledger.position import MAX_INDEX


class LedgerError(Exception):
    """The base class; the message says what happened, what it means and what to do."""

    def append(self, sentence: str) -> None:
        """Add a sentence to the message."""
        self.args = (f"{self} {sentence}", *self.args[1:])


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


class UnsignedBlockError(LedgerError):
    """A block whose orderers' signatures do not satisfy the channel's policy for blocks."""

    def __init__(self, block: int, reason: str) -> None:
        self.block, self.reason = block, reason
        super().__init__(
            f"block {block}: the orderers' signatures do not satisfy the channel's policy: "
            f"{reason}. The source forged or changed the block, or is broken; this block and the "
            "blocks after it were not stored. Compare the block with the block of another peer."
        )


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
            "`kindledger repair` shows what is stored in place of the chain's documents."
        )


class SurplusDocumentsError(StoreConflictError):
    """Documents that are stored at positions of a block where the block has none.

    `positions` are the first of them, as far as they are in block `block`; `count` counts all that
    were found.
    """

    def __init__(self, collection: str, block: int, positions: Sequence[int], count: int) -> None:
        super().__init__(collection, positions[0], "_id", "no document is here", "a document")
        self.block, self.positions, self.count = block, tuple(positions), count
        indexes = ", ".join(
            f"index {position & MAX_INDEX} (_id {position})" for position in positions
        )
        message = (
            f"block {block}: {collection}: {count:,} documents are stored that the chain does not "
            f"have, the first at {indexes}. Another chain, or a block of a lying peer, was being "
            "written into this database. Readers would see them as part of the block, so nothing "
            "further was committed. Find out which chain is right, then run `kindledger repair`, "
            "which shows such documents, and removes them with --apply."
        )
        self.args = (message,)


class DamagedRawBlockError(LedgerError):
    """A block that cannot be read as it was kept; `place` names where it is kept.

    `is_other_block` says that a whole block is there, but another one than the stored block.
    """

    def __init__(self, number: int, place: str, what: str, *, is_other_block: bool = False) -> None:
        self.number, self.place, self.what = number, place, what
        self.is_other_block = is_other_block
        super().__init__(
            f"raw block {number}: {place}: {what}. What is kept of this block was damaged or "
            "altered, and is not used; the other documents of the block are not affected. "
            "`kindledger repair --source peer --apply` fetches the block again."
        )


class ForeignArchiveError(LedgerError):
    """An archive of raw blocks, or a file in it, that does not belong to the channel's ledger."""

    def __init__(self, place: str, what: str) -> None:
        self.place = place
        super().__init__(
            f"{place}: {what}. Nothing was written to this archive. Check archive.folder and the "
            "database of the channel; move away what belongs to another channel or chain."
        )


class ArchiveUnavailableError(Exception):
    """An archive of raw blocks that cannot be read or written now; the message says why."""


class ArchiveInUseError(Exception):
    """An archive of raw blocks that another process writes to."""
