"""Verifies the envelopes of the blocks of one channel, in ascending order.

It holds the configuration and the chaincode definitions that are in force at the next block. Both
come from blocks: `learn` and `replay` bring them to where an earlier verification ended.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from ledger.decoding.blocks import UndecodedBlock
from ledger.decoding.config_blocks import is_config_block
from ledger.model import VALID
from ledger.trust.acceptance import Judgement, changed_msps, judge
from ledger.trust.block_findings import OTHER_REASONS, BlockFindings, sum_up, unchecked
from ledger.trust.block_signatures import verify_block_signatures
from ledger.trust.certificate_uses import CertificateUse, uses_in_block
from ledger.trust.chaincode_definitions import ChaincodeDefinitions
from ledger.trust.channel_trust import ChannelTrust, from_config_envelope
from ledger.trust.endorsement_policies import UNKNOWN_DEFINITION
from ledger.trust.envelope_parts import read_envelope
from ledger.trust.envelopes import verify_envelopes
from ledger.trust.verdicts import Member
from protos.common_pb2 import SIGNATURES

NO_CONFIGURATION: Final = (
    "the channel's configuration is not known before its next CONFIG block; configure config_block "
    "of the channel"
)


def is_unknown(reason: str) -> bool:
    """Return whether an envelope was not checked because what it is judged by is not known.

    `reason` is that of a finding. Otherwise the verification does not cover what the envelope has.
    """
    return reason in (NO_CONFIGURATION, OTHER_REASONS) or reason.endswith(UNKNOWN_DEFINITION)


class VerifiedBlock(Struct, frozen=True, array_like=True):
    """What the verification of a block gives.

    `configures`: whether it is a CONFIG block. `defines`: whether it changes chaincode definitions.
    `uses`: the certificates that signed in it. `changed_msps`: the MSPs that it defines in another
    way than the configuration before.
    """

    findings: BlockFindings
    configures: bool = False
    defines: bool = False
    uses: tuple[CertificateUse, ...] = ()
    changed_msps: tuple[str, ...] = ()


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

    def verify(self, block: UndecodedBlock) -> VerifiedBlock:
        """Verify the next block."""
        definitions, trust = self._definitions, self._trust
        if block.number == 0:
            self.learn(block.envelopes[0])
        findings, uses = self._verify(block)
        configures = is_config_block(block)
        if configures:
            self.learn(block.envelopes[0])
        return VerifiedBlock(
            findings,
            configures,
            self._definitions is not definitions,
            uses,
            changed_msps(trust, self._trust) if configures else (),
        )

    def judge(self, members: Sequence[Member]) -> tuple[Judgement, ...]:
        """Return whether the configuration in force accepts certificates."""
        return tuple(judge(self._trust, member) for member in members)

    def _verify(self, block: UndecodedBlock) -> tuple[BlockFindings, tuple[CertificateUse, ...]]:
        if isinstance(self._trust, str):
            self.replay(block)
            return unchecked(len(block.envelopes), self._trust), ()
        verdicts, self._definitions = verify_envelopes(
            self._trust, self._definitions, block.number, block.envelopes, block.codes
        )
        orderers = verify_block_signatures(
            self._trust,
            block.number,
            block.previous_hash,
            block.data_hash,
            block.metadata[SIGNATURES] if block.metadata else b"",
        )
        uses = uses_in_block(verdicts, block.codes, orderers.members)
        return sum_up(verdicts, block.codes), uses
