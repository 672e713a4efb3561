"""Checks that the commit hash of each block follows from its codes, its writes and its chain.

The peer's commit hash covers the validation codes and all changes of the state, and so every block
before it. So a changed code or write is found, and a peer that reads a block in another way.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from indexer.progress.channel_progress import ChannelProgress
from ledger.commit_hash import commit_hash
from ledger.errors import ChainMismatchError
from ledger.mongodb.stored_blocks import StoredBlock
from ledger.state_changes import StateChanges, StateKey, Unchecked
from runtime.throttled_log import ThrottledLog

Values: TypeAlias = Mapping[StateKey, bytes | None]

EarlierValues: TypeAlias = Callable[[int, set[StateKey]], Awaitable[Values | None]]
"""Returns the values that keys had before a block, or None if one of them is not known."""

HasHashes: TypeAlias = Callable[[], Awaitable[bool]]
"""Returns whether the lowest stored block that can have a commit hash has one."""

_LOG_INTERVAL_S: Final = 3600.0
_MEANING: Final = (
    "The commit hash does not follow from the block's validation codes, its writes, and the commit "
    "hash of the block before. Possible causes: codes or writes were changed, or the source is "
    "broken or lies. This block and the blocks after it were not stored. Compare the block with "
    "the block of another peer, and index from a source that is right."
)


class CommitHashes:
    """Checks the commit hashes of one channel's blocks, which come in ascending order.

    After a missing block the hash before is not known.
    """

    def __init__(
        self,
        earlier_values: EarlierValues,
        previous: StoredBlock | None,
        has_hashes: HasHashes | None = None,
    ) -> None:
        self._earlier_values, self._has_hashes = earlier_values, has_hashes
        self._previous = previous
        self._is_expected: bool | None = (
            True if previous is not None and previous.commit_hash else None
        )
        """Whether an earlier block has a commit hash; None until the stored blocks were asked."""

    async def check(self, block: StoredBlock, updates: bytes | StateChanges) -> Unchecked | None:
        """Return None if the block's commit hash is right, or why it cannot be checked.

        Raises `ChainMismatchError` if it is wrong.

        Fabric's peer adds a commit hash to block 1, and to each block after a block that has one.
        A peer that was upgraded from Fabric 1 adds none; yet some of its blocks may have one if it
        copied them from another peer. So a block without one is no error, nor is the first one.
        """
        before, self._previous = self._previous, block
        follows = before is not None and before.number == block.number - 1
        previous = before.commit_hash if before is not None and follows else b""
        if not block.commit_hash:
            return await self._absence() if block.number else None
        self._is_expected = True
        if block.number > 1 and not previous:
            return Unchecked.PREVIOUS_UNKNOWN
        if isinstance(updates, StateChanges) and updates.unchecked is not None:
            return updates.unchecked
        values = await self._missing_values(block.number, updates)
        if values is None:
            return Unchecked.VALUE_UNKNOWN
        expected = commit_hash(block.codes, _serialize(block.number, updates, values), previous)
        if expected == block.commit_hash:
            return None
        excuse = _excuse(updates, values)
        if excuse is None:
            raise ChainMismatchError(
                block.number, "commit hash", expected.hex(), block.commit_hash.hex(), _MEANING
            )
        return excuse

    async def _absence(self) -> Unchecked:
        if self._is_expected is None:
            self._is_expected = self._has_hashes is not None and await self._has_hashes()
        return Unchecked.LEFT_OUT if self._is_expected else Unchecked.ABSENT

    async def _missing_values(self, number: int, updates: bytes | StateChanges) -> Values | None:
        missing = set() if isinstance(updates, bytes) else updates.missing()
        return await self._earlier_values(number, missing) if missing else {}


def _serialize(number: int, updates: bytes | StateChanges, values: Values) -> bytes:
    return updates if isinstance(updates, bytes) else updates.serialize(number, values)


def _excuse(updates: bytes | StateChanges, values: Values) -> Unchecked | None:
    """Return why an honest peer may have another commit hash; None if it cannot."""
    if isinstance(updates, StateChanges) and updates.has_empty_private_value:
        return Unchecked.EMPTY_PRIVATE_VALUE
    return Unchecked.CONVERTED_VALUE if any(map(_may_be_json_object, values.values())) else None


def _may_be_json_object(value: bytes | None) -> bool:
    return value is not None and value.lstrip().startswith(b"{")


class UncheckedHashes:
    """Counts and logs the blocks of one channel whose commit hashes are not checked."""

    def __init__(self, progress: ChannelProgress) -> None:
        self._counts = progress.unchecked_commit_hashes
        self._logs = {
            reason: ThrottledLog(
                "commit_hash_not_checked",
                interval_s=_LOG_INTERVAL_S,
                channel=progress.channel,
                reason=reason.value,
            )
            for reason in Unchecked
        }

    def record(self, number: int, reason: Unchecked) -> None:
        """Record a block and the reason; each reason is logged at most once an hour."""
        self._counts[reason] += 1
        self._logs[reason].failed(block=number)
