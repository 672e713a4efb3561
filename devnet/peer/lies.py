"""Lies of a peer: chains that are well formed, but that the network never agreed on.

A lying peer serves the honest chain up to a block, and then what its operator prefers. It cannot
sign for an orderer, a client or an endorser. It leaves out the commit hash of the changed block,
which would tell, or computes the commit hashes again, which no one signs.
"""

from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum
from hashlib import sha256

from google.protobuf.message import DecodeError

from devnet.forge.state_updates import state_updates, written_values
from devnet.peer.peer_ledger import Ledger
from ledger.commit_hash import claimed_commit_hash, commit_hash
from ledger.decoding.blocks import read_block
from ledger.hashes import block_hash, data_hash
from ledger.state_changes import StateKey
from protos.common_pb2 import (
    COMMIT_HASH,
    ENDORSER_TRANSACTION,
    TRANSACTIONS_FILTER,
    Block,
    BlockHeader,
    BlockMetadata,
    ChannelHeader,
    Envelope,
    Metadata,
    Payload,
    SignatureHeader,
)
from protos.transaction_pb2 import ENDORSEMENT_POLICY_FAILURE, VALID


class Lie(StrEnum):
    """What a lying peer changes."""

    FLIP = "flip"  # one transaction that lacks endorsements is called VALID
    FLIP_CONSISTENT = "flip-consistent"  # the same, and all later commit hashes follow from it
    FORGE = "forge"  # a block that no orderer signed, with a transaction that no client signed
    SURPLUS = "surplus"  # a block of the chain with one transaction too many


def lying_ledger(honest: Ledger, lie: Lie, first: int) -> Ledger:
    """Return the ledger of a peer that lies from block `first` on.

    `FLIP` changes the first transaction from there on with the code ENDORSEMENT_POLICY_FAILURE, and
    keeps every block. `FLIP_CONSISTENT` gives that block and all later ones the commit hashes of a
    peer that believes the code, so that no block contradicts itself or the block before. `FORGE`
    replaces block `first`, which may also be the next one, and `SURPLUS` changes it; the ledger
    ends with this block, since no later block continues it. Raises ValueError if the ledger has no
    transaction that can be changed or copied.
    """
    if lie is Lie.FLIP:
        return honest.replaced(*_flipped(honest, first))
    if lie is Lie.FLIP_CONSISTENT:
        number, block = _flipped(honest, first)
        return _with_commit_hashes(honest.replaced(number, block), number)
    envelope = forged_envelope(honest.block(number) for number in range(first - 1, -1, -1))
    lying = honest.part(height=first)
    if lie is Lie.FORGE:
        previous = Block.FromString(honest.block(first - 1)).header
        lying.append(_forged_block(previous, envelope))
    else:
        lying.append(_with_surplus(honest.block(first), envelope))
    return lying


def _flipped(honest: Ledger, first: int) -> tuple[int, bytes]:
    """Return the first block whose code can be flipped, without its commit hash, and its number."""
    for number in range(first, honest.height):
        block = Block.FromString(honest.block(number))
        codes = bytearray(block.metadata.metadata[TRANSACTIONS_FILTER])
        if ENDORSEMENT_POLICY_FAILURE in codes:
            codes[codes.index(ENDORSEMENT_POLICY_FAILURE)] = VALID
            block.metadata.metadata[TRANSACTIONS_FILTER] = bytes(codes)
            block.metadata.metadata[COMMIT_HASH] = b""
            return number, block.SerializeToString()
    raise ValueError(
        f"no transaction from block {first} on has the code ENDORSEMENT_POLICY_FAILURE: choose a "
        "lower block"
    )


def _with_commit_hashes(ledger: Ledger, first: int) -> Ledger:
    """Return the ledger with the commit hashes of a peer that commits the blocks from `first` on.

    Raises ValueError for a ledger without its first blocks: earlier values may be needed.
    """
    if ledger.first:
        raise ValueError("the ledger begins above block 0, so no commit hash can be computed")
    values: defaultdict[StateKey, bytes | None] = defaultdict(lambda: None)
    previous, lying = b"", Ledger()
    for number in range(ledger.height):
        serialized = ledger.block(number)
        block = read_block(serialized)
        transactions = list(zip(block.envelopes, block.codes, strict=True))
        if number < first:
            previous = claimed_commit_hash(block)
            lying.append(ledger.unread(number))
        else:
            updates = state_updates(number, transactions, values)
            previous = commit_hash(block.codes, updates, previous)
            lying.append(_with_commit_hash(serialized, previous))
        values.update(written_values(transactions))
    return lying


def _with_commit_hash(serialized: bytes, value: bytes) -> bytes:
    block = Block.FromString(serialized)
    block.metadata.metadata[COMMIT_HASH] = Metadata(value=value).SerializeToString()
    return block.SerializeToString()


def forged_envelope(blocks: Iterable[bytes]) -> bytes:
    """Return a copy of an endorser transaction with an id of its own and a useless signature.

    The first VALID transaction of the blocks is copied. Raises ValueError if there is none.
    """
    for serialized in blocks:
        block = Block.FromString(serialized)
        codes = block.metadata.metadata[TRANSACTIONS_FILTER]
        for data, code in zip(block.data.data, codes, strict=False):
            forged = _with_new_id(data) if code == VALID else None
            if forged is not None:
                return forged
    raise ValueError("no block has a VALID endorser transaction to copy: choose a higher block")


def _with_new_id(data: bytes) -> bytes | None:
    """Return the copy; None for another type of envelope, or one that cannot be parsed."""
    try:
        payload = Payload.FromString(Envelope.FromString(data).payload)
        header = ChannelHeader.FromString(payload.header.channel_header)
        signed = SignatureHeader.FromString(payload.header.signature_header)
    except DecodeError:
        return None
    if header.type != ENDORSER_TRANSACTION:
        return None
    signed.nonce = sha256(signed.nonce).digest()[:24]
    header.tx_id = sha256(signed.nonce + signed.creator).hexdigest()
    payload.header.channel_header = header.SerializeToString()
    payload.header.signature_header = signed.SerializeToString()
    return Envelope(
        payload=payload.SerializeToString(), signature=b"no signature at all"
    ).SerializeToString()


def _forged_block(previous: BlockHeader, envelope: bytes) -> bytes:
    block = Block(metadata=BlockMetadata(metadata=[b"", b"", bytes((VALID,)), b"", b""]))
    block.data.data.append(envelope)
    block.header.number = previous.number + 1
    block.header.previous_hash = block_hash(
        previous.number, previous.previous_hash, previous.data_hash
    )
    block.header.data_hash = data_hash([envelope])
    return block.SerializeToString()


def _with_surplus(serialized: bytes, envelope: bytes) -> bytes:
    block = Block.FromString(serialized)
    block.data.data.append(envelope)
    block.header.data_hash = data_hash(block.data.data)
    block.metadata.metadata[TRANSACTIONS_FILTER] += bytes((VALID,))
    block.metadata.metadata[COMMIT_HASH] = b""
    return block.SerializeToString()
