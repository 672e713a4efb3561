"""The changes of the state by the VALID transactions of a block, as a peer hashes them."""

from collections.abc import Mapping, Sequence

from google.protobuf.message import DecodeError

from ledger.decoding.parsing import DecodingErrors
from ledger.decoding.read_write_sets import decode_read_write_sets
from ledger.state_changes import StateChanges, StateKey
from protos import common_pb2 as common
from protos import transaction_pb2 as transaction_pb


def state_updates(
    number: int,
    transactions: Sequence[tuple[bytes, int]],
    earlier: Mapping[StateKey, bytes | None],
) -> bytes:
    """Return the serialized changes of a block of envelopes with their validation codes.

    `earlier` has the values of the keys of which only the metadata is written; None means that a
    key does not exist.
    """
    changes = StateChanges()
    for index, (envelope, code) in enumerate(transactions):
        if code == transaction_pb.VALID:
            sets = decode_read_write_sets(_results(envelope), DecodingErrors(), "results")
            changes.add_sets(index, sets)
    return changes.serialize(number, earlier)


def _results(envelope: bytes) -> bytes:
    """Return the read/write sets of an envelope's first action, b"" if it has none."""
    try:
        payload = common.Payload.FromString(common.Envelope.FromString(envelope).payload)
        header = common.ChannelHeader.FromString(payload.header.channel_header)
        if header.type != common.ENDORSER_TRANSACTION:
            return b""
        actions = transaction_pb.Transaction.FromString(payload.data).actions
        if not actions:
            return b""
        action = transaction_pb.ChaincodeActionPayload.FromString(actions[0].payload).action
        response = transaction_pb.ProposalResponsePayload.FromString(
            action.proposal_response_payload
        )
        return transaction_pb.ChaincodeAction.FromString(response.extension).results
    except DecodeError:
        return b""
