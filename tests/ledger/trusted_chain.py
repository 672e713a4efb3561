"""Follows the trust of a chain from its genesis block on, as a user of `ledger.trust` does."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from devnet.forge.genesis import channel_group, genesis_envelope
from devnet.forge.network import Network
from ledger.decoding.blocks import UndecodedBlock, read_block
from ledger.model import VALID
from ledger.trust.block_signatures import verify_block_signatures
from ledger.trust.chaincode_definitions import ChaincodeDefinitions
from ledger.trust.channel_trust import ChannelTrust, from_config_envelope
from ledger.trust.envelopes import verify_envelopes
from ledger.trust.verdicts import BlockVerdict, EnvelopeVerdict
from protos.common_pb2 import CONFIG, ChannelHeader, Envelope, Payload
from protos.configuration_pb2 import Config


class Trusted(NamedTuple):
    """A block, the trust that its signers need, the newest CONFIG block at it, its verdict."""

    block: UndecodedBlock
    trust: ChannelTrust
    last_config: int
    verdict: BlockVerdict


def follow(blocks: Iterable[bytes]) -> Iterator[Trusted]:
    """Yield each block with the trust in force at it."""
    trust: ChannelTrust | None = None
    last_config = 0
    for raw in blocks:
        block = read_block(raw)
        if trust is None:
            trust = trust_of(block.envelopes[0])
        configures = block.codes[0] == VALID and is_config(block.envelopes[0])
        last_config = block.number if configures else last_config
        yield Trusted(block, trust, last_config, verify(trust, block))
        trust = trust_of(block.envelopes[0]) if configures else trust


def verify(trust: ChannelTrust, block: UndecodedBlock) -> BlockVerdict:
    return verify_block_signatures(
        trust, block.number, block.previous_hash, block.data_hash, block.metadata[0]
    )


def trust_of(envelope: bytes) -> ChannelTrust:
    trust = from_config_envelope(envelope)
    assert not isinstance(trust, str), trust
    return trust


def is_config(envelope: bytes) -> bool:
    payload = Payload.FromString(Envelope.FromString(envelope).payload)
    return ChannelHeader.FromString(payload.header.channel_header).type == CONFIG


def flipped(data: bytes, bit: int) -> bytes:
    """Return the data with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


class TrustedEnvelope(NamedTuple):
    """An envelope, its code, its verdict, and the definitions in force at it."""

    trust: ChannelTrust
    definitions: ChaincodeDefinitions
    number: int
    envelope: bytes
    code: int
    verdict: EnvelopeVerdict


def follow_envelopes(
    blocks: Iterable[bytes], at: datetime | None = None
) -> Iterator[TrustedEnvelope]:
    """Yield each envelope of a chain from its genesis block on."""
    definitions = ChaincodeDefinitions()
    for block, trust, _, _ in follow(blocks):
        verdicts, after = verify_envelopes(
            trust, definitions, block.number, block.envelopes, block.codes, at=at
        )
        for envelope, code, verdict in zip(block.envelopes, block.codes, verdicts, strict=True):
            yield TrustedEnvelope(trust, definitions, block.number, envelope, code, verdict)
        definitions = after


def channel_trust(network: Network) -> ChannelTrust:
    """Return the trust that the genesis block of a forged network establishes."""
    return trust_of(genesis_envelope(network, Config(channel_group=channel_group(network)), 0))
