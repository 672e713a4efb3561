"""Envelopes that Fabric commits and that no reader expects: broken, absurd or malicious ones.

A builder gives the envelope's bytes and the validation code that a peer would set; the codes follow
`core/common/validation` and `core/committer/txvalidator` in Fabric 2.5.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from devnet.forge import wire_format
from devnet.forge.chaincodes import KINDLEDGER
from devnet.forge.envelopes import EndorserTransaction, Level
from devnet.forge.hostile_values import (
    EVENT_NAMES,
    EVENT_PAYLOADS,
    KEYS,
    NOT_UTF8,
    RESULTS,
    TIMESTAMPS,
    TX_IDS,
)
from devnet.forge.identities import PlaceholderSigner, Signer, derive_key
from devnet.forge.network import Network
from devnet.forge.random_stream import RandomStream
from devnet.forge.world_state import Simulation, WorldState
from protos.chaincode_pb2 import ChaincodeEvent
from protos.common_pb2 import (
    CHAINCODE_PACKAGE,
    CONFIG,
    CONFIG_UPDATE,
    DELIVER_SEEK_INFO,
    MESSAGE,
    ORDERER_TRANSACTION,
)
from protos.msp_pb2 import SerializedIdemixIdentity
from protos.transaction_pb2 import (
    BAD_COMMON_HEADER,
    BAD_CREATOR_SIGNATURE,
    BAD_HEADER_EXTENSION,
    BAD_PAYLOAD,
    BAD_PROPOSAL_TXID,
    BAD_RESPONSE_PAYLOAD,
    BAD_RWSET,
    ENDORSEMENT_POLICY_FAILURE,
    INVALID_CONFIG_TRANSACTION,
    INVALID_ENDORSER_TRANSACTION,
    INVALID_OTHER_REASON,
    NOT_VALIDATED,
    TARGET_CHAIN_NOT_FOUND,
    UNSUPPORTED_TX_PAYLOAD,
    VALID,
)

OVERSIZED_BYTES = 17 * 2**20
"""Above the 16 MiB that a BSON document can hold."""

BROKEN_LEVELS: Mapping[Level, int] = {
    "payload": BAD_PAYLOAD,
    "channel_header": BAD_COMMON_HEADER,
    "channel_header_extension": BAD_HEADER_EXTENSION,
    "signature_header": BAD_COMMON_HEADER,
    "transaction": INVALID_ENDORSER_TRANSACTION,
    "action_payload": INVALID_ENDORSER_TRANSACTION,
    "proposal_response_payload": INVALID_ENDORSER_TRANSACTION,
    "chaincode_action": BAD_RESPONSE_PAYLOAD,
    "event": INVALID_OTHER_REASON,
    # a peer hashes what the client proposed, but does not look into it
    "proposal_payload": VALID,
    "invocation": VALID,
}

HEADER_TYPES: Mapping[int, int] = {
    MESSAGE: BAD_COMMON_HEADER,
    CONFIG: INVALID_CONFIG_TRANSACTION,
    CONFIG_UPDATE: UNSUPPORTED_TX_PAYLOAD,
    ORDERER_TRANSACTION: BAD_COMMON_HEADER,
    DELIVER_SEEK_INFO: BAD_COMMON_HEADER,
    CHAINCODE_PACKAGE: BAD_COMMON_HEADER,
    99: BAD_COMMON_HEADER,
    -1: BAD_COMMON_HEADER,
}

UNUSUAL_CODES = (77, 200, NOT_VALIDATED)
"""Codes that Fabric does not define, and one that a committed block never has."""


class HostileEnvelope(NamedTuple):
    """An envelope, and its validation code in the block's filter."""

    envelope: bytes
    code: int


@dataclass(frozen=True, slots=True)
class HostileContext:
    """What a builder works with. `other_id` is the id of another transaction of the chain."""

    network: Network
    random: RandomStream
    timestamp: Timestamp
    other_id: str

    def transaction(self) -> EndorserTransaction:
        """An ordinary valid transaction to be spoilt: it writes one key and sets an event."""
        nonce = self.random.nonce()
        transaction = EndorserTransaction(
            channel=self.network.channel,
            chaincode=KINDLEDGER,
            args=[b"PutNote", nonce.hex().encode(), b"x"],
            creator=self.random.pick(self.network.clients),
            endorsers=self.network.endorsers,
            nonce=nonce,
            timestamp=self.timestamp,
            results=_write(f"note:{nonce.hex()}", b"x"),
        )
        transaction.set_event("NotePut", b'{"text":"x"}')
        return transaction


Builder = Callable[[HostileContext], HostileEnvelope]


def hostile_builders() -> dict[str, Builder]:
    """Every builder by its name; the oversized transaction stands apart."""
    builders: dict[str, Builder] = {
        "envelope_empty": lambda _: HostileEnvelope(b"", BAD_COMMON_HEADER),
        "envelope_unparsable": lambda _: HostileEnvelope(
            wire_format.UNPARSABLE, INVALID_OTHER_REASON
        ),
        "envelope_unknown_field": _unknown_field,
        "channel_other": _other_channel,
        "creator_signature_false": _false_signature,
        "creator_certificate_garbage": partial(_creator, b"-----BEGIN CERTIFICATE-----\ngarbage"),
        "creator_certificate_binary": partial(_creator, NOT_UTF8),
        "creator_unparsable": _unparsable_creator,
        "creator_idemix": _idemix_creator,
        "endorsers_none": _unendorsed,
        "actions_0": partial(_actions, 0),
        "actions_3": partial(_actions, 3),
        "arguments_none": partial(_arguments, ()),
        "arguments_binary": partial(_arguments, (NOT_UTF8, b"", b"\0")),
        "response_binary": _binary_response,
        "event_of_another_transaction": _event_of_another,
        "tx_id_of_another_transaction": _id_of_another,
    }
    families: Sequence[
        tuple[str, Callable[..., HostileEnvelope], Mapping[str, tuple[object, ...]]]
    ] = (
        (
            "unparsable",
            _unparsable,
            {level: (level, code) for level, code in BROKEN_LEVELS.items()},
        ),
        (
            "type",
            _header_type,
            {str(number): (number, code) for number, code in HEADER_TYPES.items()},
        ),
        ("code", _code, {str(code): (code,) for code in UNUSUAL_CODES}),
        ("results", _results, {name: (value,) for name, value in RESULTS.items()}),
        ("tx_id", _tx_id, {name: (value,) for name, value in TX_IDS.items()}),
        ("timestamp", _timestamp, {name: (value,) for name, value in TIMESTAMPS.items()}),
        ("key", _key, {name: (value,) for name, value in KEYS.items()}),
        ("event_name", _event, {name: (value, b"{}") for name, value in EVENT_NAMES.items()}),
        (
            "event_payload",
            _event,
            {name: ("Hostile", value) for name, value in EVENT_PAYLOADS.items()},
        ),
    )
    for family, build, members in families:
        builders.update(
            {f"{family}_{name}": partial(build, *values) for name, values in members.items()}
        )
    return builders


def oversized(bench: HostileContext, size: int = OVERSIZED_BYTES) -> HostileEnvelope:
    """A valid transaction that writes one value of `size` bytes."""
    transaction = bench.transaction()
    transaction.results = _write(f"note:{transaction.tx_id}", bench.random.take(64) * (size // 64))
    return HostileEnvelope(transaction.seal(), VALID)


def _write(key: str, value: bytes) -> bytes:
    simulation = Simulation(WorldState(write_once=()))
    simulation.put(KINDLEDGER.name, key, value)
    return simulation.results()


def _unparsable(level: Level, code: int, bench: HostileContext) -> HostileEnvelope:
    transaction = bench.transaction()
    transaction.replaced = {level: wire_format.UNPARSABLE}
    return HostileEnvelope(transaction.seal(), code)


def _results(results: bytes, bench: HostileContext) -> HostileEnvelope:
    transaction = bench.transaction()
    transaction.results = results
    return HostileEnvelope(transaction.seal(), BAD_RWSET)


def _header_type(header_type: int, code: int, bench: HostileContext) -> HostileEnvelope:
    transaction = bench.transaction()
    transaction.header_type = header_type
    return HostileEnvelope(transaction.seal(), code)


def _code(code: int, bench: HostileContext) -> HostileEnvelope:
    return HostileEnvelope(bench.transaction().seal(), code)


def _tx_id(tx_id: str, bench: HostileContext) -> HostileEnvelope:
    transaction = bench.transaction()
    transaction.tx_id = tx_id
    return HostileEnvelope(transaction.seal(), BAD_PROPOSAL_TXID)


def _id_of_another(bench: HostileContext) -> HostileEnvelope:
    return _tx_id(bench.other_id, bench)


def _timestamp(timestamp: Timestamp | None, bench: HostileContext) -> HostileEnvelope:
    transaction = bench.transaction()
    transaction.timestamp = timestamp
    return HostileEnvelope(transaction.seal(), VALID)


def _key(key: str, bench: HostileContext) -> HostileEnvelope:
    transaction = bench.transaction()
    transaction.results = _write(key, NOT_UTF8)
    return HostileEnvelope(transaction.seal(), VALID)


def _event(name: str, payload: bytes, bench: HostileContext) -> HostileEnvelope:
    transaction = bench.transaction()
    transaction.set_event(name, payload)
    return HostileEnvelope(transaction.seal(), VALID)


def _event_of_another(bench: HostileContext) -> HostileEnvelope:
    transaction = bench.transaction()
    event = ChaincodeEvent(
        chaincode_id="token", tx_id=bench.other_id, event_name="Mint", payload=b"{}"
    )
    transaction.event = event.SerializeToString()
    return HostileEnvelope(transaction.seal(), VALID)


def _unknown_field(bench: HostileContext) -> HostileEnvelope:
    return HostileEnvelope(
        bench.transaction().seal() + wire_format.field(999, b"from a later Fabric"), VALID
    )


def _other_channel(bench: HostileContext) -> HostileEnvelope:
    transaction = bench.transaction()
    transaction.channel = "another-channel"
    return HostileEnvelope(transaction.seal(), TARGET_CHAIN_NOT_FOUND)


def _false_signature(bench: HostileContext) -> HostileEnvelope:
    transaction = bench.transaction()
    honest = transaction.creator
    stranger = derive_key(bench.network.seed, "stranger")
    transaction.creator = Signer(honest.mspid, honest.certificate, stranger)
    return HostileEnvelope(transaction.seal(), BAD_CREATOR_SIGNATURE)


def _creator(certificate: bytes, bench: HostileContext) -> HostileEnvelope:
    transaction = bench.transaction()
    transaction.creator = Signer("Org1MSP", certificate, derive_key(bench.network.seed, "stranger"))
    transaction.claim_own_id()
    return HostileEnvelope(transaction.seal(), BAD_CREATOR_SIGNATURE)


def _unparsable_creator(bench: HostileContext) -> HostileEnvelope:
    transaction = bench.transaction()
    creator = Signer("", b"", derive_key(bench.network.seed, "stranger"))
    creator.serialized = wire_format.UNPARSABLE
    transaction.creator = creator
    transaction.claim_own_id()
    return HostileEnvelope(transaction.seal(), BAD_CREATOR_SIGNATURE)


def _idemix_creator(bench: HostileContext) -> HostileEnvelope:
    """Valid where the channel has an idemix MSP; its zero-knowledge proof is random here."""
    transaction = bench.transaction()
    identity = SerializedIdemixIdentity(
        nym_x=bench.random.take(32),
        nym_y=bench.random.take(32),
        ou=b"client",
        role=b"\x01",
        proof=bench.random.take(400),
    )
    transaction.creator = PlaceholderSigner(
        "IdemixMSP", identity.SerializeToString(), derive_key(bench.network.seed, "idemix")
    )
    transaction.claim_own_id()
    return HostileEnvelope(transaction.seal(), VALID)


def _unendorsed(bench: HostileContext) -> HostileEnvelope:
    transaction = bench.transaction()
    transaction.endorsers = ()
    return HostileEnvelope(transaction.seal(), ENDORSEMENT_POLICY_FAILURE)


def _actions(count: int, bench: HostileContext) -> HostileEnvelope:
    transaction = bench.transaction()
    transaction.actions = count
    return HostileEnvelope(transaction.seal(), INVALID_ENDORSER_TRANSACTION)


def _arguments(args: Sequence[bytes], bench: HostileContext) -> HostileEnvelope:
    transaction = bench.transaction()
    transaction.args = args
    return HostileEnvelope(transaction.seal(), VALID)


def _binary_response(bench: HostileContext) -> HostileEnvelope:
    transaction = bench.transaction()
    transaction.response = NOT_UTF8
    return HostileEnvelope(transaction.seal(), VALID)
