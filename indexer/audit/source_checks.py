"""Checks what no block hash covers in the blocks of a source, for `kindledger repair`.

Validation codes and commit hash are in a block's metadata, as the orderers' signatures are. Blocks
that continue each other up to the stored head may therefore have wrong ones.

A source is refused only by what its blocks alone prove. Where a block writes only the metadata of a
key, its commit hash covers the key's value from before, which is read from the store. It proves
nothing: the store is about to be repaired, so the value may be wrong or missing. And a peer with
CouchDB gives JSON back in another form than it was written (`couchDocToKeyValue` in Fabric's
statecouchdb). So such a block is never refused, only counted and named.
"""

from typing import Final

from msgspec import Struct
from pymongo.asynchronous.database import AsyncDatabase

from indexer.pipeline.block_signatures import BlockSignatures
from indexer.pipeline.chain import identify
from indexer.pipeline.commit_hashes import CommitHashes, UncheckedHashes, Values
from indexer.progress.channel_progress import ChannelProgress
from ledger.decoding.blocks import UndecodedBlock
from ledger.decoding.config_blocks import is_config_block
from ledger.documents.format import Document
from ledger.errors import ChainMismatchError, UnsignedBlockError
from ledger.mongodb.earlier_values import earlier_values
from ledger.state_changes import StateChanges, StateKey, Unchecked

_WRONG_HASH: Final = (
    "The commit hash does not follow from the block's validation codes, its writes, and the commit "
    "hash of the block before: the source changed codes or writes, or is broken. Nothing was "
    "changed. Do not trust this source: repair from another one."
)
_UNSIGNED: Final = (
    "The source forged or changed the block, or is broken. Nothing was changed. Do not trust this "
    "source: repair from another one."
)
_OTHER_GENESIS: Final = (
    "The source has another channel than the one whose genesis hash is configured. Nothing was "
    "changed. Check genesis_hash of the channel, or repair from another source."
)


class DoubtfulHash(Struct, frozen=True):
    """A block's commit hash, and the other one that follows with values from the store."""

    block: int
    claimed: str
    computed: str


class SourceSignatures:
    """Verifies the orderers' signatures of a source's blocks, which come in ascending order.

    At the first block and after a missing one, the newest known CONFIG block is in force if the
    block does not name a newer one. Otherwise the configuration is not known before the next CONFIG
    block. The block itself is asked because its stored document may be damaged.
    """

    def __init__(self, signatures: BlockSignatures, anchor: UndecodedBlock | None = None) -> None:
        """Trust the genesis block, and the CONFIG block `anchor`."""
        self._signatures, self._config = signatures, anchor
        self._next = -1

    def check(self, block: UndecodedBlock, last_config: int | None) -> None:
        """Verify the next block, whose metadata names the CONFIG block `last_config`.

        Raises `ChainMismatchError`.
        """
        if block.number != self._next:
            self._signatures.restart(self._config_in_force(block.number, last_config))
        self._next = block.number + 1
        try:
            self._signatures.check(block)
        except UnsignedBlockError as error:
            field, expected = "orderers' signatures", "those that the channel's policy demands"
            raise ChainMismatchError(
                block.number, field, expected, f"others ({error.reason})", _UNSIGNED
            ) from error
        except ChainMismatchError as error:
            raise ChainMismatchError(
                error.block, error.field, error.expected, error.got, _OTHER_GENESIS
            ) from error
        if is_config_block(block):
            self._config = block

    def _config_in_force(self, number: int, last_config: int | None) -> UndecodedBlock | None:
        config = self._config
        if config is None or config.number >= number:
            return None
        return config if (last_config or 0) <= config.number else None


class SourceChecks:
    """Checks the blocks of a source, which come in ascending order and must be one chain.

    `progress` counts what could not be checked. Without `signatures` none are verified.
    """

    def __init__(
        self,
        database: AsyncDatabase[Document],
        progress: ChannelProgress,
        signatures: SourceSignatures | None,
    ) -> None:
        self._database, self._signatures = database, signatures
        self._hashes = CommitHashes(self._earlier_values, None)
        self._unchecked = UncheckedHashes(progress)
        self._start: int | None = None
        """The number of the first block."""
        self._looked_up = False
        """Whether the commit hash of the block was computed with values from the store."""
        self.doubtful: DoubtfulHash | None = None
        """The first block whose commit hash would be wrong if the values from the store are right.
        """
        self.doubtful_count = 0

    def check_signatures(self, block: UndecodedBlock, last_config: int | None) -> None:
        """Verify the orderers' signatures of the next block. Raises `ChainMismatchError`."""
        if self._signatures is not None:
            self._signatures.check(block, last_config)

    async def check_commit_hash(self, block: UndecodedBlock, updates: bytes | StateChanges) -> None:
        """Check the commit hash of the next block, which makes these changes of the state.

        Raises `ChainMismatchError` if the block alone proves that it is wrong.
        """
        if self._start is None:
            self._start = block.number
        self._looked_up = False
        try:
            reason = await self._hashes.check(identify(block), updates)
        except ChainMismatchError as error:
            expected, got = str(error.expected), str(error.got)
            if not self._looked_up:
                raise ChainMismatchError(
                    error.block, error.field, expected, got, _WRONG_HASH
                ) from error
            reason = Unchecked.VALUE_UNKNOWN
            self.doubtful = self.doubtful or DoubtfulHash(error.block, got, expected)
            self.doubtful_count += 1
        if reason is not None:
            self._unchecked.record(block.number, reason)

    async def _earlier_values(self, number: int, keys: set[StateKey]) -> Values | None:
        self._looked_up = True
        return await earlier_values(self._database, self._start or 0, number, keys)
