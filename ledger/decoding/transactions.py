"""Decodes an envelope of a block into a transaction, as far as it can be decoded.

A block also contains envelopes that cannot be decoded at all; Fabric gives them a validation code
other than VALID. Therefore no content of an envelope raises an error here: `Transaction.errors`
names the parts that cannot be decoded.
"""

from hashlib import sha256

from google.protobuf.message import DecodeError

from ledger.decoding.channel_config import decode_channel_config
from ledger.decoding.identities import decode_identity
from ledger.decoding.lifecycle import decode_lifecycle
from ledger.decoding.parsing import DecodingErrors, parse, parse_or_empty
from ledger.decoding.read_write_sets import decode_read_write_sets
from ledger.model import (
    Action,
    Chaincode,
    ChaincodeEvent,
    ChannelConfig,
    ClaimedIds,
    Identity,
    Response,
    Timestamp,
    Transaction,
)
from protos import chaincode_pb2 as chaincode_pb
from protos import common_pb2 as common
from protos import transaction_pb2 as transaction_pb

_CONFIG = common.CONFIG
_ENDORSER_TRANSACTION = common.ENDORSER_TRANSACTION


def decode_claimed_ids(envelope_bytes: bytes) -> ClaimedIds:
    """Return the ids that the envelope's channel header claims; decode no other part."""
    header = _channel_header(envelope_bytes)
    return ClaimedIds("", None) if header is None else ClaimedIds(header.tx_id, header.channel_id)


def decode_header_type(envelope_bytes: bytes) -> int | None:
    """Return the type of an envelope, `common.HeaderType`, or None if it cannot be decoded."""
    header = _channel_header(envelope_bytes)
    return header.type if header is not None else None


def _channel_header(envelope_bytes: bytes) -> common.ChannelHeader | None:
    try:
        payload = common.Payload.FromString(common.Envelope.FromString(envelope_bytes).payload)
        return common.ChannelHeader.FromString(payload.header.channel_header)
    except DecodeError:
        return None


def decode_transaction(envelope_bytes: bytes, index: int, code: int) -> Transaction:
    """Return the transaction in an envelope.

    `index` is the envelope's index in its block, `code` the validation code that the peer gave it.
    """
    errors = DecodingErrors(len(envelope_bytes))
    envelope = parse(common.Envelope, envelope_bytes, errors, "envelope")
    payload = (
        parse(common.Payload, envelope.payload, errors, "payload") if envelope is not None else None
    )
    header: common.ChannelHeader | None = None
    creator: Identity | None = None
    actions: tuple[Action, ...] = ()
    config: ChannelConfig | None = None
    if payload is not None:
        headers = payload.header
        creator = _creator(headers.signature_header, errors)
        header = parse(
            common.ChannelHeader, headers.channel_header, errors, "header.channel_header"
        )
        if header is not None and header.type == _ENDORSER_TRANSACTION:
            actions = _actions(payload.data, errors)
        elif header is not None and header.type == _CONFIG:
            config = decode_channel_config(payload.data, errors)
    return Transaction(
        index=index,
        code=code,
        envelope_hash=sha256(envelope_bytes).digest(),
        envelope_size=len(envelope_bytes),
        type=header.type if header is not None else None,
        channel_id=header.channel_id if header is not None else None,
        tx_id=header.tx_id if header is not None else "",
        timestamp=_timestamp(header) if header is not None else None,
        creator=creator,
        chaincode_id=_chaincode_id(header, actions, errors) if header is not None else None,
        actions=actions,
        config=config,
        lifecycle=decode_lifecycle(actions[0], errors) if actions else None,
        errors=tuple(errors),
    )


def _creator(signature_header: bytes, errors: DecodingErrors) -> Identity | None:
    header = parse(common.SignatureHeader, signature_header, errors, "header.signature_header")
    return _identity(header.creator, errors, "header.creator") if header is not None else None


def _identity(serialized: bytes, errors: DecodingErrors, *path: str | int) -> Identity | None:
    if not serialized:
        return None
    identity = decode_identity(serialized)
    if identity is None:
        errors.add(*path)
    return identity


def _timestamp(header: common.ChannelHeader) -> Timestamp | None:
    if not header.HasField("timestamp"):
        return None
    claimed = header.timestamp
    return Timestamp(claimed.seconds, claimed.nanos)


def _chaincode_id(
    header: common.ChannelHeader, actions: tuple[Action, ...], errors: DecodingErrors
) -> str | None:
    """Return the chaincode's name from ChaincodeAction, else from the header's extension."""
    if actions and actions[0].chaincode is not None and actions[0].chaincode.name:
        return actions[0].chaincode.name
    if header.type != _ENDORSER_TRANSACTION:
        return None
    path = "header.channel_header.extension"
    extension = parse(transaction_pb.ChaincodeHeaderExtension, header.extension, errors, path)
    return extension.chaincode_id.name or None if extension is not None else None


def _actions(data: bytes, errors: DecodingErrors) -> tuple[Action, ...]:
    actions = parse_or_empty(transaction_pb.Transaction, data, errors, "transaction").actions
    if errors.must_reserve and not errors.reserve(len(actions), "transaction"):
        return ()
    return tuple(
        [_action(action.payload, errors, f"actions.{i}") for i, action in enumerate(actions)]
    )


def _action(payload_bytes: bytes, errors: DecodingErrors, path: str) -> Action:
    payload = parse_or_empty(transaction_pb.ChaincodeActionPayload, payload_bytes, errors, path)
    endorsed = payload.action
    chaincode_input = _input(payload.chaincode_proposal_payload, errors, path)
    result = _chaincode_action(endorsed.proposal_response_payload, errors, path)
    return Action(
        chaincode=_chaincode(result),
        args=_args(chaincode_input, errors, path),
        is_init=chaincode_input.is_init,
        endorsers=_endorsers(endorsed, errors, path),
        response=_response(result),
        rwsets=decode_read_write_sets(result.results, errors, f"{path}.results"),
        event=_event(result.events, errors, path),
    )


def _args(
    chaincode_input: chaincode_pb.ChaincodeInput, errors: DecodingErrors, path: str
) -> tuple[bytes, ...]:
    args = chaincode_input.args
    if errors.must_reserve and not errors.reserve(len(args), path, "args"):
        return ()
    return tuple(args)


def _endorsers(
    action: transaction_pb.ChaincodeEndorsedAction, errors: DecodingErrors, path: str
) -> tuple[Identity | None, ...]:
    endorsements = action.endorsements
    if errors.must_reserve and not errors.reserve(len(endorsements), path, "endorsements"):
        return ()
    return tuple(
        [
            _identity(endorsement.endorser, errors, path, "endorsements", i)
            for i, endorsement in enumerate(endorsements)
        ]
    )


def _input(data: bytes, errors: DecodingErrors, path: str) -> chaincode_pb.ChaincodeInput:
    name = "chaincode_proposal_payload"
    proposal = parse_or_empty(transaction_pb.ChaincodeProposalPayload, data, errors, path, name)
    invocation = parse_or_empty(
        chaincode_pb.ChaincodeInvocationSpec, proposal.input, errors, path, name, "input"
    )
    return invocation.chaincode_spec.input


def _chaincode_action(
    data: bytes, errors: DecodingErrors, path: str
) -> transaction_pb.ChaincodeAction:
    name = "proposal_response_payload"
    response = parse_or_empty(transaction_pb.ProposalResponsePayload, data, errors, path, name)
    return parse_or_empty(
        transaction_pb.ChaincodeAction, response.extension, errors, path, name, "extension"
    )


def _chaincode(action: transaction_pb.ChaincodeAction) -> Chaincode | None:
    if not action.HasField("chaincode_id"):
        return None
    chaincode = action.chaincode_id
    return Chaincode(chaincode.name, chaincode.version)


def _response(action: transaction_pb.ChaincodeAction) -> Response | None:
    if not action.HasField("response"):
        return None
    response = action.response
    return Response(response.status, response.message, response.payload)


def _event(data: bytes, errors: DecodingErrors, path: str) -> ChaincodeEvent | None:
    if not data:
        return None
    event = parse(chaincode_pb.ChaincodeEvent, data, errors, path, "events")
    if event is None:
        return None
    return ChaincodeEvent(event.chaincode_id, event.tx_id, event.event_name, event.payload)
