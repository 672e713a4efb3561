"""Functions that build hostile envelopes: each makes one valid transaction and breaks one part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from devnet import wire_format
from devnet.forge.chaincodes import KINDLEDGER
from devnet.forge.envelopes import EndorserTransaction, Level
from devnet.forge.hostile_values import NOT_UTF8
from devnet.forge.identities import PlaceholderSigner, Signer, derive_key
from devnet.forge.network import Network
from devnet.forge.random_stream import RandomStream
from devnet.forge.world_state import Simulation, WorldState
from protos.chaincode_pb2 import ChaincodeEvent
from protos.msp_pb2 import SerializedIdemixIdentity
from protos.transaction_pb2 import (
    BAD_CREATOR_SIGNATURE,
    BAD_PROPOSAL_TXID,
    BAD_RWSET,
    ENDORSEMENT_POLICY_FAILURE,
    INVALID_ENDORSER_TRANSACTION,
    TARGET_CHAIN_NOT_FOUND,
    VALID,
)

OVERSIZED_BYTES = 17 * 2**20
"""A size above the 16 MiB limit of a BSON document."""


class HostileEnvelope(NamedTuple):
    """A serialized envelope and its validation code."""

    envelope: bytes
    code: int


@dataclass(frozen=True, slots=True)
class HostileContext:
    """The input of every builder; `other_id` is the id of another transaction of the chain."""

    network: Network
    random: RandomStream
    timestamp: Timestamp
    other_id: str

    def transaction(self) -> EndorserTransaction:
        """Return a valid transaction that writes one key and sets an event."""
        nonce = self.random.nonce()
        transaction = EndorserTransaction(
            channel=self.network.channel,
            chaincode=KINDLEDGER,
            args=[b"PutNote", nonce.hex().encode(), b"x"],
            creator=self.random.pick(self.network.clients),
            endorsers=self.network.endorsers,
            nonce=nonce,
            timestamp=self.timestamp,
            results=_write_set(f"note:{nonce.hex()}", b"x"),
        )
        transaction.set_event("NotePut", b'{"text":"x"}')
        return transaction


Builder = Callable[[HostileContext], HostileEnvelope]


def oversized(context: HostileContext, size: int = OVERSIZED_BYTES) -> HostileEnvelope:
    """Return a valid transaction that writes one value of `size` bytes."""
    transaction = context.transaction()
    transaction.results = _write_set(
        f"note:{transaction.tx_id}", context.random.take(64) * (size // 64)
    )
    return HostileEnvelope(transaction.seal(), VALID)


def _write_set(key: str, value: bytes) -> bytes:
    simulation = Simulation(WorldState(write_once=()))
    simulation.put(KINDLEDGER.name, key, value)
    return simulation.results()


def with_unparsable_level(level: Level, code: int, context: HostileContext) -> HostileEnvelope:
    """Return a transaction in which the message of one level cannot be parsed."""
    transaction = context.transaction()
    transaction.replaced = {level: wire_format.UNPARSABLE}
    return HostileEnvelope(transaction.seal(), code)


def with_results(results: bytes, context: HostileContext) -> HostileEnvelope:
    """Return a transaction with the given bytes as its read/write set."""
    transaction = context.transaction()
    transaction.results = results
    return HostileEnvelope(transaction.seal(), BAD_RWSET)


def with_header_type(header_type: int, code: int, context: HostileContext) -> HostileEnvelope:
    """Return a transaction with another header type."""
    transaction = context.transaction()
    transaction.header_type = header_type
    return HostileEnvelope(transaction.seal(), code)


def with_code(code: int, context: HostileContext) -> HostileEnvelope:
    """Return a valid transaction that is marked with an unusual validation code."""
    return HostileEnvelope(context.transaction().seal(), code)


def with_tx_id(tx_id: str, context: HostileContext) -> HostileEnvelope:
    """Return a transaction that claims another id."""
    transaction = context.transaction()
    transaction.tx_id = tx_id
    return HostileEnvelope(transaction.seal(), BAD_PROPOSAL_TXID)


def with_id_of_another_transaction(context: HostileContext) -> HostileEnvelope:
    """Return a transaction that claims the id of another transaction."""
    return with_tx_id(context.other_id, context)


def with_timestamp(timestamp: Timestamp | None, context: HostileContext) -> HostileEnvelope:
    """Return a transaction with another timestamp, or without a timestamp."""
    transaction = context.transaction()
    transaction.timestamp = timestamp
    return HostileEnvelope(transaction.seal(), VALID)


def with_key(key: str, context: HostileContext) -> HostileEnvelope:
    """Return a transaction that writes binary content to an unusual key."""
    transaction = context.transaction()
    transaction.results = _write_set(key, NOT_UTF8)
    return HostileEnvelope(transaction.seal(), VALID)


def with_event(name: str, payload: bytes, context: HostileContext) -> HostileEnvelope:
    """Return a transaction with an unusual event."""
    transaction = context.transaction()
    transaction.set_event(name, payload)
    return HostileEnvelope(transaction.seal(), VALID)


def with_event_of_another_transaction(context: HostileContext) -> HostileEnvelope:
    """Return a transaction whose event names another transaction.

    A peer checks only that the event names the invoked chaincode.
    """
    transaction = context.transaction()
    event = ChaincodeEvent(
        chaincode_id=transaction.chaincode.name,
        tx_id=context.other_id,
        event_name="Mint",
        payload=b"{}",
    )
    transaction.event = event.SerializeToString()
    return HostileEnvelope(transaction.seal(), VALID)


def with_unknown_field(context: HostileContext) -> HostileEnvelope:
    """Return a valid envelope with a protobuf field that no Fabric version defines."""
    return HostileEnvelope(
        context.transaction().seal() + wire_format.field(999, b"from a later Fabric"), VALID
    )


def for_another_channel(context: HostileContext) -> HostileEnvelope:
    """Return a transaction that names another channel."""
    transaction = context.transaction()
    transaction.channel = "another-channel"
    return HostileEnvelope(transaction.seal(), TARGET_CHAIN_NOT_FOUND)


def with_false_signature(context: HostileContext) -> HostileEnvelope:
    """Return a transaction that is not signed with its creator's key."""
    transaction = context.transaction()
    honest = transaction.creator
    stranger = derive_key(context.network.seed, "stranger")
    transaction.creator = Signer(honest.mspid, honest.certificate, stranger)
    return HostileEnvelope(transaction.seal(), BAD_CREATOR_SIGNATURE)


def with_creator_certificate(certificate: bytes, context: HostileContext) -> HostileEnvelope:
    """Return a transaction whose creator has the given bytes as its certificate."""
    transaction = context.transaction()
    transaction.creator = Signer(
        "Org1MSP", certificate, derive_key(context.network.seed, "stranger")
    )
    transaction.use_computed_id()
    return HostileEnvelope(transaction.seal(), BAD_CREATOR_SIGNATURE)


def with_unparsable_creator(context: HostileContext) -> HostileEnvelope:
    """Return a transaction whose creator cannot be parsed."""
    transaction = context.transaction()
    creator = Signer("", b"", derive_key(context.network.seed, "stranger"))
    creator.serialized = wire_format.UNPARSABLE
    transaction.creator = creator
    transaction.use_computed_id()
    return HostileEnvelope(transaction.seal(), BAD_CREATOR_SIGNATURE)


def with_idemix_creator(context: HostileContext) -> HostileEnvelope:
    """Return a transaction of an Idemix identity with a random proof.

    The channel has no MSP of Idemix.
    """
    transaction = context.transaction()
    identity = SerializedIdemixIdentity(
        nym_x=context.random.take(32),
        nym_y=context.random.take(32),
        ou=b"client",
        role=b"\x01",
        proof=context.random.take(400),
    )
    transaction.creator = PlaceholderSigner(
        "IdemixMSP", identity.SerializeToString(), derive_key(context.network.seed, "idemix")
    )
    transaction.use_computed_id()
    return HostileEnvelope(transaction.seal(), BAD_CREATOR_SIGNATURE)


def without_endorsements(context: HostileContext) -> HostileEnvelope:
    """Return a transaction without endorsements."""
    transaction = context.transaction()
    transaction.endorsers = ()
    return HostileEnvelope(transaction.seal(), ENDORSEMENT_POLICY_FAILURE)


def with_actions(count: int, context: HostileContext) -> HostileEnvelope:
    """Return a transaction with `count` actions."""
    transaction = context.transaction()
    transaction.actions = count
    return HostileEnvelope(transaction.seal(), INVALID_ENDORSER_TRANSACTION)


def with_arguments(args: Sequence[bytes], context: HostileContext) -> HostileEnvelope:
    """Return a transaction with the given chaincode arguments."""
    transaction = context.transaction()
    transaction.args = args
    return HostileEnvelope(transaction.seal(), VALID)


def with_binary_response(context: HostileContext) -> HostileEnvelope:
    """Return a transaction with a binary response."""
    transaction = context.transaction()
    transaction.response = NOT_UTF8
    return HostileEnvelope(transaction.seal(), VALID)
