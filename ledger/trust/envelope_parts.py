"""Reads from an envelope what its signatures sign, who signs, and which namespaces it writes."""

from collections.abc import Iterator
from hashlib import sha256

from google.protobuf.message import DecodeError
from msgspec import Struct
from msgspec.structs import replace

from ledger.hashes import transaction_id
from ledger.trust.limits import MAX_NAMESPACES, MAX_SIGNATURES
from ledger.trust.verdicts import VALID, Check, RefusedError, UncheckedError, invalid, not_checked
from protos.chaincode_pb2 import ChaincodeEvent
from protos.common_pb2 import (
    CONFIG,
    ENDORSER_TRANSACTION,
    ChannelHeader,
    Envelope,
    Payload,
    SignatureHeader,
)
from protos.kvrwset_pb2 import HashedRWSet, KVRWSet
from protos.rwset_pb2 import NsReadWriteSet, TxReadWriteSet
from protos.transaction_pb2 import (
    ChaincodeAction,
    ChaincodeActionPayload,
    ChaincodeHeaderExtension,
    ProposalResponsePayload,
    Transaction,
)

Key = tuple[str, str, str | bytes]
"""A key of the world state: namespace, collection (empty: public), and the key or its hash."""


class NamespaceWrites(Struct, frozen=True):
    """The read/write set of a namespace: the public part, and the hashes of each collection."""

    name: str
    public: KVRWSet
    collections: tuple[tuple[str, HashedRWSet], ...]

    @classmethod
    def nothing(cls, name: str) -> "NamespaceWrites":
        """Return the read/write set of a namespace that a transaction does not touch."""
        return cls(name, KVRWSet(), ())

    @property
    def writes_public(self) -> bool:
        """Whether it writes public keys or their metadata."""
        return bool(self.public.writes or self.public.metadata_writes)

    @property
    def written_collections(self) -> tuple[str, ...]:
        """The names of the collections that it writes, or whose metadata it writes."""
        return tuple(
            name
            for name, hashed in self.collections
            if hashed.hashed_writes or hashed.metadata_writes
        )

    def written_keys(self) -> Iterator[Key]:
        """Yield the keys that it writes, or whose metadata it writes."""
        for write in self.public.writes:
            yield self.name, "", write.key
        for name, hashed in self.collections:
            for hashed_write in hashed.hashed_writes:
                yield self.name, name, hashed_write.key_hash
        yield from self.keys_with_metadata()

    def keys_with_metadata(self) -> Iterator[Key]:
        """Yield the keys whose metadata it writes: their endorsement policies are there."""
        for write in self.public.metadata_writes:
            yield self.name, "", write.key
        for name, hashed in self.collections:
            for hashed_write in hashed.metadata_writes:
                yield self.name, name, hashed_write.key_hash


class EnvelopeParts(Struct, frozen=True):
    """The parts of an envelope that matter for trust.

    `header_fault` says why the headers are unusable; then there is nothing else. `transaction`: the
    check of what an endorser transaction binds together; an envelope of another type has none.
    `endorsements`: each endorser's serialized identity and signature, over `endorsed` and the
    identity.
    """

    header_fault: str = ""
    header_type: int = -1
    channel: str = ""
    payload: bytes = b""
    signature: bytes = b""
    creator: bytes = b""
    transaction: Check = VALID
    endorsements: tuple[tuple[bytes, bytes], ...] = ()
    endorsed: bytes = b""
    chaincode: str = ""
    namespaces: tuple[NamespaceWrites, ...] = ()


def read_envelope(envelope: bytes) -> EnvelopeParts:
    """Return the parts of a serialized envelope; whatever the bytes are, no error is raised."""
    try:
        outer = Envelope.FromString(envelope)
        payload = Payload.FromString(outer.payload)
        channel = ChannelHeader.FromString(payload.header.channel_header)
        signature = SignatureHeader.FromString(payload.header.signature_header)
    except DecodeError:
        return EnvelopeParts(header_fault="the envelope or one of its headers cannot be parsed")
    fault = _header_fault(channel, signature)
    if fault:
        return EnvelopeParts(header_fault=fault)
    parts = EnvelopeParts(
        header_type=channel.type,
        channel=channel.channel_id,
        payload=outer.payload,
        signature=outer.signature,
        creator=signature.creator,
    )
    return parts if channel.type == CONFIG else _endorsed(parts, payload, channel, signature)


def _header_fault(channel: ChannelHeader, signature: SignatureHeader) -> str:
    """Return why Fabric's `validateCommonHeader` refuses the headers, or an empty text."""
    if channel.type not in (ENDORSER_TRANSACTION, CONFIG):
        return f"no envelope of the type {channel.type} is a transaction"
    if channel.epoch:
        return f"the envelope is of the epoch {channel.epoch}, and Fabric knows only 0"
    if not signature.nonce or not signature.creator:
        return "the envelope has no creator or no nonce"
    return ""


def _endorsed(
    parts: EnvelopeParts, payload: Payload, channel: ChannelHeader, signature: SignatureHeader
) -> EnvelopeParts:
    """Return the parts of an endorser transaction, as far as they can be read."""
    if channel.tx_id != transaction_id(signature.nonce, signature.creator):
        return _refused(parts, "the transaction id is not the hash of nonce and creator")
    try:
        header, action = _action(payload)
        response = ProposalResponsePayload.FromString(action.action.proposal_response_payload)
        extension = ChaincodeHeaderExtension.FromString(channel.extension)
        result = ChaincodeAction.FromString(response.extension)
        event = ChaincodeEvent.FromString(result.events)
        namespaces = _namespaces(TxReadWriteSet.FromString(result.results))
    except DecodeError:
        return _refused(parts, "a part of the transaction cannot be parsed")
    except RefusedError as error:
        return _refused(parts, str(error))
    except UncheckedError as error:
        return replace(parts, transaction=not_checked(str(error)))
    parts = replace(
        parts,
        endorsements=tuple(
            (item.endorser, item.signature)
            for item in action.action.endorsements[: MAX_SIGNATURES + 1]
        ),
        endorsed=action.action.proposal_response_payload,
        chaincode=result.chaincode_id.name,
        namespaces=namespaces,
    )
    proposal = payload.header.channel_header + header + action.chaincode_proposal_payload
    faults = {
        "the endorsed proposal is not the one in the transaction": (
            response.proposal_hash != sha256(proposal).digest()
        ),
        "header and result name different chaincodes": (
            not parts.chaincode or parts.chaincode != extension.chaincode_id.name
        ),
        "the result does not name the chaincode's version": not result.chaincode_id.version,
        "the event is of another chaincode": (
            bool(result.events) and event.chaincode_id != parts.chaincode
        ),
        "a namespace occurs twice in the read/write set": (
            len({namespace.name for namespace in namespaces}) < len(namespaces)
        ),
    }
    return next((_refused(parts, fault) for fault, found in faults.items() if found), parts)


def _action(payload: Payload) -> tuple[bytes, ChaincodeActionPayload]:
    """Return header and payload of the only action.

    Raises `RefusedError` when Fabric would not read it, and DecodeError when it cannot be parsed.
    """
    actions = Transaction.FromString(payload.data).actions
    if len(actions) != 1:
        raise RefusedError(f"the transaction has {len(actions)} actions instead of one")
    header = SignatureHeader.FromString(actions[0].header)
    if not header.nonce or not header.creator:
        raise RefusedError("the action has no creator or no nonce")
    return actions[0].header, ChaincodeActionPayload.FromString(actions[0].payload)


def _namespaces(results: TxReadWriteSet) -> tuple[NamespaceWrites, ...]:
    """Return the read/write sets; raise `UncheckedError` when there are too many."""
    count = len(results.ns_rwset)
    if count <= MAX_NAMESPACES:
        count += sum(len(namespace.collection_hashed_rwset) for namespace in results.ns_rwset)
    if count > MAX_NAMESPACES:
        raise UncheckedError(f"the transaction has over {MAX_NAMESPACES} namespaces or collections")
    return tuple(map(_namespace, results.ns_rwset))


def _namespace(message: NsReadWriteSet) -> NamespaceWrites:
    return NamespaceWrites(
        message.namespace,
        KVRWSet.FromString(message.rwset),
        tuple(
            (collection.collection_name, HashedRWSet.FromString(collection.hashed_rwset))
            for collection in message.collection_hashed_rwset
        ),
    )


def _refused(parts: EnvelopeParts, reason: str) -> EnvelopeParts:
    return replace(parts, transaction=invalid(reason))
