"""Blocks whose writes or codes are changed so that only their commit hash can tell."""

from collections.abc import Callable

from ledger.hashes import data_hash
from protos import common_pb2, kvrwset_pb2, rwset_pb2, transaction_pb2

Change = Callable[[kvrwset_pb2.KVRWSet], bool]
"""Changes the writes of one namespace in place, or returns False if it cannot."""


def change_value(sets: kvrwset_pb2.KVRWSet) -> bool:
    if not sets.writes:
        return False
    sets.writes[0].value += b"x"
    sets.writes[0].is_delete = False
    return True


def drop_write(sets: kvrwset_pb2.KVRWSet) -> bool:
    if not sets.writes:
        return False
    del sets.writes[0]
    return True


def add_write(sets: kvrwset_pb2.KVRWSet) -> bool:
    sets.writes.append(kvrwset_pb2.KVWrite(key="another key", value=b"value"))
    return True


def with_changed_writes(serialized: bytes, index: int, change: Change) -> bytes | None:
    """Return the block with other writes of the VALID envelope at an index, and the right hashes.

    Return None if the change cannot be made there.
    """
    block = common_pb2.Block.FromString(serialized)
    envelope = common_pb2.Envelope.FromString(block.data.data[index])
    payload = common_pb2.Payload.FromString(envelope.payload)
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    if header.type != common_pb2.ENDORSER_TRANSACTION:
        return None
    transaction = transaction_pb2.Transaction.FromString(payload.data)
    action = transaction_pb2.ChaincodeActionPayload.FromString(transaction.actions[0].payload)
    response = transaction_pb2.ProposalResponsePayload.FromString(
        action.action.proposal_response_payload
    )
    result = transaction_pb2.ChaincodeAction.FromString(response.extension)
    results = rwset_pb2.TxReadWriteSet.FromString(result.results)
    for namespace in results.ns_rwset:
        sets = kvrwset_pb2.KVRWSet.FromString(namespace.rwset)
        if change(sets):
            namespace.rwset = sets.SerializeToString()
            break
    else:
        return None
    result.results = results.SerializeToString()
    response.extension = result.SerializeToString()
    action.action.proposal_response_payload = response.SerializeToString()
    transaction.actions[0].payload = action.SerializeToString()
    payload.data = transaction.SerializeToString()
    envelope.payload = payload.SerializeToString()
    block.data.data[index] = envelope.SerializeToString()
    block.header.data_hash = data_hash(block.data.data)
    return block.SerializeToString()


def with_code(serialized: bytes, index: int, code: int) -> bytes:
    """Return the block with another validation code of the envelope at an index."""
    block = common_pb2.Block.FromString(serialized)
    codes = bytearray(block.metadata.metadata[common_pb2.TRANSACTIONS_FILTER])
    codes[index] = code
    block.metadata.metadata[common_pb2.TRANSACTIONS_FILTER] = bytes(codes)
    return block.SerializeToString()
