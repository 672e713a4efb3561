"""The changes of the state by the VALID transactions of a block, as a peer hashes them."""

from collections.abc import Iterator, Mapping, Sequence

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


def written_values(
    transactions: Sequence[tuple[bytes, int]],
) -> Iterator[tuple[StateKey, bytes | None]]:
    """Yield the writes of a block's VALID transactions in their order; None deletes the key.

    The key of a private value is its hash, and its value is a hash too.
    """
    for envelope, code in transactions:
        if code != transaction_pb.VALID:
            continue
        for sets in decode_read_write_sets(_results(envelope), DecodingErrors(), "results"):
            for write in sets.writes:
                value = None if write.is_delete else write.value or None
                yield (sets.namespace, "", write.key.encode()), value
            for hashes in sets.collections:
                for hashed in hashes.writes:
                    value = None if hashed.is_delete else hashed.value_hash or None
                    yield (sets.namespace, hashes.collection, hashed.key_hash), value


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
