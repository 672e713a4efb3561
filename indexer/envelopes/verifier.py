"""Verifies the envelopes of the blocks of one channel, in ascending order.

It holds the configuration and the chaincode definitions that are in force at the next block. Both
come from blocks: `learn` and `replay` bring them to where an earlier verification ended.
"""

from typing import Final

from ledger.decoding.blocks import UndecodedBlock
from ledger.decoding.config_blocks import is_config_block
from ledger.model import VALID
from ledger.trust.block_findings import OTHER_REASONS, BlockFindings, sum_up, unchecked
from ledger.trust.chaincode_definitions import ChaincodeDefinitions
from ledger.trust.channel_trust import ChannelTrust, from_config_envelope
from ledger.trust.endorsement_policies import UNKNOWN_DEFINITION
from ledger.trust.envelope_parts import read_envelope
from ledger.trust.envelopes import verify_envelopes

NO_CONFIGURATION: Final = (
    "the channel's configuration is not known before its next CONFIG block; configure config_block "
    "of the channel"
)


def is_unknown(reason: str) -> bool:
    """Return whether an envelope was not checked because what it is judged by is not known.

    `reason` is that of a finding. Otherwise the verification does not cover what the envelope has.
    """
    return reason in (NO_CONFIGURATION, OTHER_REASONS) or reason.endswith(UNKNOWN_DEFINITION)


class EnvelopeVerifier:
    """Verifies blocks whose hashes and validation codes the caller has compared already."""

    def __init__(self, *, complete: bool) -> None:
        """Begin at block 0 if `complete`, else at a later block."""
        self._trust: ChannelTrust | str = NO_CONFIGURATION
        """The configuration in force, or why it is not known."""
        self._definitions = ChaincodeDefinitions(complete=complete)

    def learn(self, envelope: bytes) -> None:
        """Take the configuration from a serialized CONFIG envelope."""
        self._trust = from_config_envelope(envelope)

    def replay(self, block: UndecodedBlock) -> None:
        """Take the changes of chaincode definitions from a block, without verifying it."""
        transactions = zip(block.envelopes, block.codes, strict=True)
        valid = [read_envelope(envelope) for envelope, code in transactions if code == VALID]
        self._definitions = self._definitions.after(valid)

    def verify(self, block: UndecodedBlock) -> tuple[BlockFindings, bool]:
        """Return the findings of the next block, and whether it changes definitions."""
        before = self._definitions
        if block.number == 0:
            self.learn(block.envelopes[0])
        if isinstance(self._trust, str):
            findings = unchecked(len(block.envelopes), self._trust)
            self.replay(block)
        else:
            verdicts, self._definitions = verify_envelopes(
                self._trust, before, block.number, block.envelopes, block.codes
            )
            findings = sum_up(verdicts, block.codes)
        if is_config_block(block):
            self.learn(block.envelopes[0])
        return findings, self._definitions is not before
