"""A forged chain, and how its transactions are taken apart."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from devnet.forge.forger import Recipe
from protos.chaincode_pb2 import ChaincodeEvent, ChaincodeInvocationSpec
from protos.common_pb2 import (
    ChannelHeader,
    Envelope,
    Payload,
    SignatureHeader,
)
from protos.kvrwset_pb2 import HashedRWSet, KVRWSet
from protos.rwset_pb2 import TxReadWriteSet
from protos.transaction_pb2 import (
    ChaincodeAction,
    ChaincodeActionPayload,
    ChaincodeHeaderExtension,
    ChaincodeProposalPayload,
    ProposalResponsePayload,
    Transaction,
)

RECIPE = Recipe(seed=20, organisations=2, invalid_share=0.25, hostile_share=0.15)
BLOCKS = 120

M = TypeVar("M", bound=Message)


@dataclass
class Read:
    """An endorser transaction taken apart down to what the chaincode did."""

    envelope: Envelope
    payload: Payload
    channel_header: ChannelHeader
    signature_header: SignatureHeader
    transaction: Transaction
    action: ChaincodeActionPayload
    response: ProposalResponsePayload
    result: ChaincodeAction
    results: TxReadWriteSet
    event: ChaincodeEvent
    arguments: list[bytes]


class UnreadableError(Exception):
    """Carries the name of the outermost level that does not parse."""


def parse(level: str, message: Callable[[bytes], M], content: bytes) -> M:
    try:
        return message(content)
    except DecodeError as error:
        raise UnreadableError(level) from error


def read(data: bytes) -> Read:
    envelope = parse("envelope", Envelope.FromString, data)
    payload = parse("payload", Payload.FromString, envelope.payload)
    header = parse("channel_header", ChannelHeader.FromString, payload.header.channel_header)
    parse("channel_header_extension", ChaincodeHeaderExtension.FromString, header.extension)
    signature_header = parse(
        "signature_header", SignatureHeader.FromString, payload.header.signature_header
    )
    transaction = parse("transaction", Transaction.FromString, payload.data)
    action = parse(
        "action_payload", ChaincodeActionPayload.FromString, transaction.actions[0].payload
    )
    proposed = action.chaincode_proposal_payload
    proposal = parse("proposal_payload", ChaincodeProposalPayload.FromString, proposed)
    invocation = parse("invocation", ChaincodeInvocationSpec.FromString, proposal.input)
    response = parse(
        "proposal_response_payload",
        ProposalResponsePayload.FromString,
        action.action.proposal_response_payload,
    )
    result = parse("chaincode_action", ChaincodeAction.FromString, response.extension)
    event = parse("event", ChaincodeEvent.FromString, result.events)
    results = parse("results", TxReadWriteSet.FromString, result.results)
    for namespace in results.ns_rwset:
        parse("results_kv", KVRWSet.FromString, namespace.rwset)
        for collection in namespace.collection_hashed_rwset:
            parse("results_hashed", HashedRWSet.FromString, collection.hashed_rwset)
    return Read(
        envelope,
        payload,
        header,
        signature_header,
        transaction,
        action,
        response,
        result,
        results,
        event,
        list(invocation.chaincode_spec.input.args),
    )
