"""Responses of `DeliverFiltered`: ids, types, codes, and events without their payloads."""

from google.protobuf.message import DecodeError

from devnet.peer.deliver_responses import status_response
from protos.chaincode_pb2 import ChaincodeEvent
from protos.common_pb2 import (
    BAD_REQUEST,
    ENDORSER_TRANSACTION,
    TRANSACTIONS_FILTER,
    Block,
    ChannelHeader,
    Envelope,
    HeaderType,
    Payload,
)
from protos.events_pb2 import (
    DeliverResponse,
    FilteredBlock,
    FilteredTransactionActions,
)
from protos.transaction_pb2 import (
    ChaincodeAction,
    ChaincodeActionPayload,
    ProposalResponsePayload,
    Transaction,
    TxValidationCode,
)


def filtered_response(block: bytes) -> bytes:
    """Return the serialized `DeliverResponse` for a block.

    As in Fabric, the response omits an envelope that cannot be parsed. If only the content of an
    envelope cannot be parsed, the response is the status 400, and the sequence continues.
    """
    try:
        return DeliverResponse(
            filtered_block=_filtered(Block.FromString(block))
        ).SerializeToString()
    except (DecodeError, IndexError):
        return status_response(BAD_REQUEST)


def _filtered(block: Block) -> FilteredBlock:
    filtered = FilteredBlock(number=block.header.number)
    codes = block.metadata.metadata[TRANSACTIONS_FILTER]
    for index, data in enumerate(block.data.data):
        try:
            envelope = Envelope.FromString(data)
        except DecodeError:
            continue
        payload = Payload.FromString(envelope.payload)
        if not payload.HasField("header"):
            continue
        header = ChannelHeader.FromString(payload.header.channel_header)
        filtered.channel_id = header.channel_id
        transaction = filtered.filtered_transactions.add(
            txid=header.tx_id,
            type=HeaderType.ValueType(header.type),
            tx_validation_code=TxValidationCode.ValueType(codes[index]),
        )
        if header.type == ENDORSER_TRANSACTION:
            transaction.transaction_actions.CopyFrom(_actions(Transaction.FromString(payload.data)))
    return filtered


def _actions(transaction: Transaction) -> FilteredTransactionActions:
    actions = FilteredTransactionActions()
    for action in transaction.actions:
        action_payload = ChaincodeActionPayload.FromString(action.payload)
        if not action_payload.HasField("action"):
            continue
        response = ProposalResponsePayload.FromString(
            action_payload.action.proposal_response_payload
        )
        event = ChaincodeEvent.FromString(ChaincodeAction.FromString(response.extension).events)
        if event.chaincode_id:
            event.ClearField("payload")
            actions.chaincode_actions.add(chaincode_event=event)
    return actions
