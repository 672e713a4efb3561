"""Follows the channel's configuration through the CONFIG blocks of a bundle."""

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from ledger.decoding.blocks import UndecodedBlock
from ledger.trust.block_signatures import verify_block_signatures
from ledger.trust.channel_trust import ChannelTrust, from_config_envelope
from ledger.trust.verdicts import RefusedError, Result
from protos.common_pb2 import SIGNATURES, Envelope, Payload
from protos.configuration_pb2 import ConfigEnvelope


class Configuration:
    """The configuration that a CONFIG block establishes.

    Raises `RefusedError` if the block establishes none.
    """

    def __init__(self, block: UndecodedBlock) -> None:
        if len(block.envelopes) != 1:
            raise RefusedError(f"block {block.number} has {len(block.envelopes)} envelopes")
        trust = from_config_envelope(block.envelopes[0])
        if isinstance(trust, str):
            raise RefusedError(f"block {block.number} is no CONFIG block: {trust}")
        self.trust: ChannelTrust = trust
        self.number = block.number
        self.sequence = _sequence(block.envelopes[0])

    def after(self, block: UndecodedBlock) -> "Configuration":
        """Return the configuration in force after the next block.

        Raises `RefusedError` unless the orderers of this configuration signed the block, and named
        its configuration: this one, or the next one, which the block itself establishes.

        The signature of a block says nothing of CONFIG blocks in between. So a CONFIG block that
        was left out is found by the sequence: each configuration has the next number.
        """
        signatures = block.metadata[SIGNATURES] if block.metadata else b""
        verdict = verify_block_signatures(
            self.trust, block.number, block.previous_hash, block.data_hash, signatures
        )
        if verdict.result is not Result.VALID:
            raise RefusedError(f"the signatures of block {block.number}: {verdict.reason}")
        if verdict.last_config == self.number:
            return self
        if verdict.last_config != block.number:
            raise RefusedError(
                f"block {block.number} was made under the configuration of block "
                f"{verdict.last_config}, not under that of block {self.number}"
            )
        following = Configuration(block)
        if following.trust.channel != self.trust.channel:
            raise RefusedError(
                f"block {block.number} configures the channel {following.trust.channel!r}"
            )
        if following.sequence != self.sequence + 1:
            raise RefusedError(
                f"block {block.number} has the configuration {following.sequence}, which does not "
                f"follow configuration {self.sequence} of block {self.number}: a CONFIG block is "
                "missing"
            )
        return following


def follow(
    blocks: Sequence[UndecodedBlock], anchor_hash: bytes
) -> tuple[Configuration, Configuration | None]:
    """Return the configuration after the last block, and the one under which it was signed.

    All blocks but the last one are CONFIG blocks. The first one is the anchor: if it is the only
    one, no signature is verified, and the second configuration is None. Raises `RefusedError` if it
    is another anchor than the one with this hash, or the blocks do not follow each other.
    """
    anchor, *others = blocks
    if anchor.hash != anchor_hash:
        raise RefusedError(
            f"the first block, number {anchor.number}, has the hash {anchor.hash.hex()}, and not "
            "the one that is trusted: it is another network's, or was changed"
        )
    before, current = None, Configuration(anchor)
    for block in others:
        before, current = current, current.after(block)
        if current is before and block is not blocks[-1]:
            raise RefusedError(f"block {block.number} is no CONFIG block")
    return current, before


def _sequence(envelope: bytes) -> int:
    try:
        data = Payload.FromString(Envelope.FromString(envelope).payload).data
        return ConfigEnvelope.FromString(data).config.sequence
    except DecodeError:
        raise RefusedError("a configuration cannot be parsed") from None
