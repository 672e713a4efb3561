"""Builds the signed envelope of an endorser transaction."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Literal, NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import Struct, field

from devnet.forge.identities import Signer
from ledger.hashes import transaction_id
from protos.chaincode_pb2 import (
    ChaincodeEvent,
    ChaincodeID,
    ChaincodeInput,
    ChaincodeInvocationSpec,
    ChaincodeSpec,
)
from protos.common_pb2 import (
    ENDORSER_TRANSACTION,
    ChannelHeader,
    Envelope,
    Header,
    Payload,
    SignatureHeader,
)
from protos.transaction_pb2 import (
    ChaincodeAction,
    ChaincodeActionPayload,
    ChaincodeEndorsedAction,
    ChaincodeHeaderExtension,
    ChaincodeProposalPayload,
    Endorsement,
    ProposalResponsePayload,
    Response,
    Transaction,
    TransactionAction,
)

Level = Literal[
    "payload",
    "channel_header",
    "channel_header_extension",
    "signature_header",
    "transaction",
    "action_payload",
    "proposal_payload",
    "invocation",
    "proposal_response_payload",
    "chaincode_action",
    "event",
]
"""The messages embedded as bytes: each can be unparsable while the messages around it parse."""

_SUCCESS = 200


class Chaincode(NamedTuple):
    """A deployed chaincode."""

    name: str
    version: str
    language: ChaincodeSpec.Type.ValueType


class EndorserTransaction(Struct, kw_only=True):
    """The content of an endorser transaction; the defaults are those of a correct client and peers.

    `replaced`: bytes in place of the message of a level. Hashes and signatures over the replaced
    bytes stay correct.
    """

    channel: str
    chaincode: Chaincode
    args: Sequence[bytes]
    creator: Signer
    endorsers: Sequence[Signer]
    nonce: bytes
    timestamp: Timestamp | None
    results: bytes = b""
    event: bytes = b""
    response: bytes = b""
    header_type: int = ENDORSER_TRANSACTION
    actions: int = 1
    replaced: Mapping[Level, bytes] = field(default_factory=dict)
    tx_id: str = ""

    def __post_init__(self) -> None:
        if not self.tx_id:
            self.use_computed_id()

    def use_computed_id(self) -> None:
        """Set the id computed from nonce and creator: the only id that Fabric accepts."""
        self.tx_id = transaction_id(self.nonce, self.creator.serialized)

    def set_event(self, name: str, payload: bytes) -> None:
        """Add an event of the chaincode."""
        self.event = ChaincodeEvent(
            chaincode_id=self.chaincode.name, tx_id=self.tx_id, event_name=name, payload=payload
        ).SerializeToString()

    def seal(self) -> bytes:
        """Return the serialized and signed envelope."""
        channel_header = self._level("channel_header", self._channel_header())
        signature_header = self._level(
            "signature_header",
            SignatureHeader(creator=self.creator.serialized, nonce=self.nonce).SerializeToString(),
        )
        action = TransactionAction(
            header=signature_header,
            payload=self._level(
                "action_payload", self._action_payload(channel_header + signature_header)
            ),
        )
        payload = Payload(
            header=Header(channel_header=channel_header, signature_header=signature_header),
            data=self._level(
                "transaction", Transaction(actions=[action] * self.actions).SerializeToString()
            ),
        )
        signed = self._level("payload", payload.SerializeToString())
        return Envelope(payload=signed, signature=self.creator.sign(signed)).SerializeToString()

    def _channel_header(self) -> bytes:
        extension = ChaincodeHeaderExtension(chaincode_id=ChaincodeID(name=self.chaincode.name))
        return ChannelHeader(
            type=self.header_type,
            timestamp=self.timestamp,
            channel_id=self.channel,
            tx_id=self.tx_id,
            extension=self._level("channel_header_extension", extension.SerializeToString()),
        ).SerializeToString()

    def _action_payload(self, headers: bytes) -> bytes:
        proposal_payload = self._level("proposal_payload", self._proposal_payload())
        proposal_response_payload = self._level(
            "proposal_response_payload",
            ProposalResponsePayload(
                proposal_hash=sha256(headers + proposal_payload).digest(),
                extension=self._level("chaincode_action", self._chaincode_action()),
            ).SerializeToString(),
        )
        endorsements = [
            Endorsement(
                endorser=endorser.serialized,
                signature=endorser.sign(proposal_response_payload + endorser.serialized),
            )
            for endorser in self.endorsers
        ]
        return ChaincodeActionPayload(
            chaincode_proposal_payload=proposal_payload,
            action=ChaincodeEndorsedAction(
                proposal_response_payload=proposal_response_payload, endorsements=endorsements
            ),
        ).SerializeToString()

    def _proposal_payload(self) -> bytes:
        spec = ChaincodeSpec(
            type=self.chaincode.language,
            chaincode_id=ChaincodeID(name=self.chaincode.name),
            input=ChaincodeInput(args=self.args),
        )
        invocation = ChaincodeInvocationSpec(chaincode_spec=spec).SerializeToString()
        return ChaincodeProposalPayload(
            input=self._level("invocation", invocation)
        ).SerializeToString()

    def _chaincode_action(self) -> bytes:
        return ChaincodeAction(
            results=self.results,
            events=self._level("event", self.event),
            response=Response(status=_SUCCESS, payload=self.response),
            chaincode_id=ChaincodeID(name=self.chaincode.name, version=self.chaincode.version),
        ).SerializeToString()

    def _level(self, level: Level, message: bytes) -> bytes:
        return self.replaced.get(level, message)
