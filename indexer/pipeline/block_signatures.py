"""Verifies the orderers' signatures of each block before anything of the block is stored.

The genesis block is the anchor of the trust: nobody signs it. Each CONFIG block is signed under the
configuration that it replaces, and says who may sign the blocks after it. A ledger that starts
above block 0 needs the CONFIG block in force as its anchor; without it the signatures are not
checked before the next CONFIG block, which is then the anchor.
"""

import asyncio
from contextlib import aclosing
from typing import Final

from indexer.envelopes.verifier import NO_CONFIGURATION
from indexer.progress.channel_progress import ChannelProgress
from indexer.sources.block_source import (
    BlockNotAvailableError,
    BlockSource,
    DeliveredBlock,
    SourceUnavailableError,
)
from ledger.decoding.blocks import UndecodedBlock
from ledger.decoding.config_blocks import is_config_block
from ledger.errors import ChainMismatchError, UnsignedBlockError
from ledger.trust.block_signatures import verify_block_signatures, why_undecidable
from ledger.trust.channel_trust import ChannelTrust, from_config_envelope
from ledger.trust.verdicts import Result
from protos import common_pb2 as common
from runtime.throttled_log import ThrottledLog

_LOG_INTERVAL_S: Final = 3600.0
_OTHER_GENESIS: Final = (
    "The source delivers another channel than the one whose genesis hash is configured. Nothing "
    "was stored. Check which peers or files are configured, and genesis_hash of the channel."
)


class BlockSignatures:
    """Verifies the blocks of one channel, which come in ascending order."""

    def __init__(
        self,
        progress: ChannelProgress,
        *,
        genesis_hash: bytes | None = None,
        anchor: UndecodedBlock | None = None,
    ) -> None:
        """Trust the genesis block with this hash, or any, and the CONFIG block `anchor`."""
        self._progress, self._genesis_hash, self._anchor = progress, genesis_hash, anchor
        self._trust: ChannelTrust | str = NO_CONFIGURATION
        """The configuration in force, or why it is not known."""
        self.needed_config: int | None = None
        """The number of the stored CONFIG block that must be read again, None if none must be."""
        self._unchecked = ThrottledLog(
            "signatures_not_checked", interval_s=_LOG_INTERVAL_S, channel=progress.channel
        )

    def resume(self, start: int, config_number: int | None) -> None:
        """Continue a chain that is stored from block `start` on.

        `config_number` is the number of the CONFIG block that is in force after the highest stored
        block, or None if no block is stored.
        """
        anchor = self._anchor
        if anchor is not None and config_number in (None, anchor.number):
            self._learn(anchor)
        elif config_number is not None and config_number >= start:
            self.needed_config = config_number

    def restart(self, config: UndecodedBlock | None) -> None:
        """Continue at any block: under the configuration of a CONFIG block, or under none."""
        self._trust = NO_CONFIGURATION
        if config is not None:
            self._learn(config)

    def recognize(self, block: UndecodedBlock) -> None:
        """Learn the configuration from a block that equals the stored block of its number."""
        if block.number == self.needed_config:
            self._learn(block)
            self.needed_config = None

    def check(self, block: UndecodedBlock) -> None:
        """Verify the next block of the chain, and learn its configuration if it is a CONFIG block.

        Raises `UnsignedBlockError` if the orderers' signatures do not satisfy the channel's policy,
        and `ChainMismatchError` if it is another genesis block than the configured one.
        """
        if block.number == 0:
            self._check_genesis(block)
        else:
            self._verify(block)
        if is_config_block(block):
            self._learn(block)

    def _check_genesis(self, block: UndecodedBlock) -> None:
        expected = self._genesis_hash
        if expected is not None and block.hash != expected:
            raise ChainMismatchError(0, "hash", expected.hex(), block.hash.hex(), _OTHER_GENESIS)

    def _verify(self, block: UndecodedBlock) -> None:
        if isinstance(self._trust, str):
            self._record_unchecked(block, self._trust)
            return
        signatures = block.metadata[common.SIGNATURES] if block.metadata else b""
        verdict = verify_block_signatures(
            self._trust, block.number, block.previous_hash, block.data_hash, signatures
        )
        if verdict.result is not Result.VALID:
            raise UnsignedBlockError(block.number, verdict.reason)

    def _record_unchecked(self, block: UndecodedBlock, reason: str) -> None:
        self._progress.unchecked_signatures += 1
        self._unchecked.failed(block=block.number, reason=reason)

    def _learn(self, block: UndecodedBlock) -> None:
        trust = from_config_envelope(block.envelopes[0])
        undecidable = trust if isinstance(trust, str) else why_undecidable(trust)
        self._trust = undecidable or trust


async def read_config_block(source: BlockSource, number: int, limit_s: float) -> DeliveredBlock:
    """Return the CONFIG block with this number, without which signatures cannot be verified.

    Raises `SourceUnavailableError` if the source does not deliver it within `limit_s` seconds.
    """
    delivered: DeliveredBlock | None = None
    try:
        async with asyncio.timeout(limit_s), aclosing(source.blocks(number, None)) as blocks:
            delivered = await anext(blocks, None)
    except (BlockNotAvailableError, TimeoutError):
        pass
    if delivered is None or delivered.number != number:
        raise SourceUnavailableError(
            "no_config_block",
            f"{source.name} does not have the CONFIG block {number}, without which the "
            "signatures of the next blocks cannot be verified. Give the block as config_block of "
            "the channel, or follow a peer that has it",
        )
    return delivered
