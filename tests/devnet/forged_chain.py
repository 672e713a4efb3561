"""A forged chain, and functions that parse its transactions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from devnet.forge.forger import ForgedBlock, Recipe
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
class ParsedTransaction:
    """A parsed endorser transaction, with the read/write set and the event of the chaincode."""

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


class UnparsableError(Exception):
    """The outermost level of a transaction that cannot be parsed, by its name."""


def parse_level(level: str, message: Callable[[bytes], M], content: bytes) -> M:
    try:
        return message(content)
    except DecodeError as error:
        raise UnparsableError(level) from error


def parse_transaction(data: bytes) -> ParsedTransaction:
    envelope = parse_level("envelope", Envelope.FromString, data)
    payload = parse_level("payload", Payload.FromString, envelope.payload)
    header = parse_level("channel_header", ChannelHeader.FromString, payload.header.channel_header)
    parse_level("channel_header_extension", ChaincodeHeaderExtension.FromString, header.extension)
    signature_header = parse_level(
        "signature_header", SignatureHeader.FromString, payload.header.signature_header
    )
    transaction = parse_level("transaction", Transaction.FromString, payload.data)
    action = parse_level(
        "action_payload", ChaincodeActionPayload.FromString, transaction.actions[0].payload
    )
    proposal_bytes = action.chaincode_proposal_payload
    proposal = parse_level("proposal_payload", ChaincodeProposalPayload.FromString, proposal_bytes)
    invocation = parse_level("invocation", ChaincodeInvocationSpec.FromString, proposal.input)
    response = parse_level(
        "proposal_response_payload",
        ProposalResponsePayload.FromString,
        action.action.proposal_response_payload,
    )
    result = parse_level("chaincode_action", ChaincodeAction.FromString, response.extension)
    event = parse_level("event", ChaincodeEvent.FromString, result.events)
    results = parse_level("results", TxReadWriteSet.FromString, result.results)
    for namespace in results.ns_rwset:
        parse_level("results_kv", KVRWSet.FromString, namespace.rwset)
        for collection in namespace.collection_hashed_rwset:
            parse_level("results_hashed", HashedRWSet.FromString, collection.hashed_rwset)
    return ParsedTransaction(
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


def parsed_transactions(
    forged: list[ForgedBlock],
) -> Iterator[tuple[int, int, int, ParsedTransaction]]:
    """Yield block number, index, code and content of each envelope that is not hostile."""
    for block in forged:
        for index, submission in enumerate(block.submissions):
            if submission.function:
                yield block.number, index, submission.code, parse_transaction(submission.envelope)
