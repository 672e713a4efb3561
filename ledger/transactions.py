"""Decodes an envelope of a block into a transaction, as deep as it can be decoded.

Fabric commits envelopes that parse at no depth, with a code other than VALID: they are part of the block.
So nothing here raises for what a client can sign; what is unreadable is named in `Transaction.errors`.
"""

from hashlib import sha256

from ledger.config import read_config
from ledger.identities import read_identity
from ledger.lifecycle import read_lifecycle
from ledger.model import (
    Action,
    Chaincode,
    ChaincodeEvent,
    ChannelConfig,
    Identity,
    Response,
    Timestamp,
    Transaction,
)
from ledger.rwsets import read_rwsets
from ledger.wire import Errors, parse
from protos import chaincode_pb2 as chaincode_pb
from protos import common_pb2 as common
from protos import transaction_pb2 as transaction_pb

_CONFIG = common.CONFIG
_ENDORSER_TRANSACTION = common.ENDORSER_TRANSACTION


def decode_transaction(envelope_bytes: bytes, index: int, code: int) -> Transaction:
    """The transaction in the envelope at `index` of its block, which the peer gave the validation `code`."""
    errors: Errors = []
    header = common.ChannelHeader()
    has_header = False
    creator: Identity | None = None
    actions: tuple[Action, ...] = ()
    config: ChannelConfig | None = None

    payload = _payload(envelope_bytes, errors)
    if payload is not None:
        creator = _identity(_signature_header(payload, errors).creator, "header.creator", errors)
        parsed = parse(common.ChannelHeader, payload.header.channel_header, "header.channel_header", errors)
        if parsed is not None:
            header, has_header = parsed, True
            if header.type == _ENDORSER_TRANSACTION:
                actions = _actions(payload.data, errors)
            elif header.type == _CONFIG:
                config = read_config(payload.data, errors)

    return Transaction(
        index=index,
        code=code,
        envelope_hash=sha256(envelope_bytes).digest(),
        envelope_size=len(envelope_bytes),
        type=header.type if has_header else None,
        channel_id=header.channel_id if has_header else None,
        tx_id=header.tx_id,
        timestamp=_timestamp(header),
        creator=creator,
        chaincode_id=_chaincode_id(header, actions, errors),
        actions=actions,
        config=config,
        lifecycle=read_lifecycle(actions[0], errors) if actions else None,
        errors=tuple(errors),
    )


def _payload(envelope_bytes: bytes, errors: Errors) -> common.Payload | None:
    envelope = parse(common.Envelope, envelope_bytes, "envelope", errors)
    if envelope is None:
        return None
    return parse(common.Payload, envelope.payload, "payload", errors)


def _signature_header(payload: common.Payload, errors: Errors) -> common.SignatureHeader:
    header = parse(common.SignatureHeader, payload.header.signature_header, "header.signature_header", errors)
    return header or common.SignatureHeader()


def _identity(serialized: bytes, path: str, errors: Errors) -> Identity | None:
    if not serialized:
        return None
    identity = read_identity(serialized)
    if identity is None:
        errors.append(path)
    return identity


def _timestamp(header: common.ChannelHeader) -> Timestamp | None:
    if not header.HasField("timestamp"):
        return None
    claimed = header.timestamp
    return Timestamp(claimed.seconds, claimed.nanos)


def _chaincode_id(header: common.ChannelHeader, actions: tuple[Action, ...], errors: Errors) -> str | None:
    """The name in ChaincodeAction, else in the header's extension, else None."""
    for action in actions[:1]:
        if action.chaincode is not None and action.chaincode.name:
            return action.chaincode.name
    if header.type != _ENDORSER_TRANSACTION:
        return None
    extension = parse(
        transaction_pb.ChaincodeHeaderExtension, header.extension, "header.channel_header.extension", errors
    )
    return extension.chaincode_id.name or None if extension is not None else None


def _actions(data: bytes, errors: Errors) -> tuple[Action, ...]:
    transaction = parse(transaction_pb.Transaction, data, "transaction", errors)
    if transaction is None:
        return ()
    return tuple([_action(a.payload, f"actions.{i}", errors) for i, a in enumerate(transaction.actions)])


def _action(payload_bytes: bytes, path: str, errors: Errors) -> Action:
    payload = parse(transaction_pb.ChaincodeActionPayload, payload_bytes, path, errors)
    if payload is None:
        payload = transaction_pb.ChaincodeActionPayload()
    chaincode_input = _input(payload.chaincode_proposal_payload, path, errors)
    result = _chaincode_action(payload.action.proposal_response_payload, path, errors)
    return Action(
        chaincode=Chaincode(result.chaincode_id.name, result.chaincode_id.version)
        if result.HasField("chaincode_id")
        else None,
        args=tuple(chaincode_input.args),
        is_init=chaincode_input.is_init,
        endorsers=tuple(
            [
                _identity(endorsement.endorser, f"{path}.endorsements.{i}", errors)
                for i, endorsement in enumerate(payload.action.endorsements)
            ]
        ),
        response=_response(result),
        rwsets=read_rwsets(result.results, f"{path}.results", errors),
        event=_event(result.events, f"{path}.events", errors),
    )


def _input(proposal_bytes: bytes, path: str, errors: Errors) -> chaincode_pb.ChaincodeInput:
    proposal = parse(
        transaction_pb.ChaincodeProposalPayload, proposal_bytes, f"{path}.chaincode_proposal_payload", errors
    )
    if proposal is not None:
        invocation = parse(
            chaincode_pb.ChaincodeInvocationSpec,
            proposal.input,
            f"{path}.chaincode_proposal_payload.input",
            errors,
        )
        if invocation is not None:
            return invocation.chaincode_spec.input
    return chaincode_pb.ChaincodeInput()


def _chaincode_action(response_bytes: bytes, path: str, errors: Errors) -> transaction_pb.ChaincodeAction:
    response = parse(
        transaction_pb.ProposalResponsePayload, response_bytes, f"{path}.proposal_response_payload", errors
    )
    if response is not None:
        action = parse(
            transaction_pb.ChaincodeAction,
            response.extension,
            f"{path}.proposal_response_payload.extension",
            errors,
        )
        if action is not None:
            return action
    return transaction_pb.ChaincodeAction()


def _response(action: transaction_pb.ChaincodeAction) -> Response | None:
    if not action.HasField("response"):
        return None
    response = action.response
    return Response(response.status, response.message, response.payload)


def _event(data: bytes, path: str, errors: Errors) -> ChaincodeEvent | None:
    if not data:
        return None
    event = parse(chaincode_pb.ChaincodeEvent, data, path, errors)
    if event is None:
        return None
    return ChaincodeEvent(event.chaincode_id, event.tx_id, event.event_name, event.payload)
