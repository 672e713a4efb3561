"""Reads a block's frame - header, envelopes, filter, metadata - and checks it against itself.

A frame is cheap: no envelope is opened. It suffices to tell whether a block belongs to a chain, and whether it
equals one that is stored.
"""

from collections.abc import Sequence
from typing import overload

from google.protobuf.message import DecodeError
from msgspec import Struct

from ledger import hashes
from ledger.decoding.identities import decode_identity
from ledger.decoding.parsing import DecodingErrors, parse
from ledger.decoding.transactions import decode_claimed_ids, decode_transaction
from ledger.errors import CorruptBlockError
from ledger.model import Block, Signer, Transaction
from ledger.position import MAX_BLOCK_NUMBER, MAX_TRANSACTIONS
from protos import common_pb2 as common


class UndecodedBlock(Struct, frozen=True):
    """A block whose data hash and filter length hold, its envelopes unopened."""

    number: int
    hash: bytes
    previous_hash: bytes
    data_hash: bytes
    codes: bytes
    envelopes: tuple[bytes, ...]
    metadata: tuple[bytes, ...]
    size: int


def read_block(block_bytes: bytes) -> UndecodedBlock:
    """Parses a serialized `common.Block` as a peer delivers it.

    Raises `CorruptBlockError` if it does not parse, if its data hash is not that of its envelopes, or if the
    TRANSACTIONS_FILTER does not hold one validation code per envelope (an orderer's blocks have none).
    """
    try:
        block = common.Block.FromString(block_bytes)
    except DecodeError:
        raise CorruptBlockError(
            None, "bytes", "a serialized common.Block", _describe(block_bytes)
        ) from None
    return check_block(block)


def check_block(block: common.Block) -> UndecodedBlock:
    """The frame of a parsed block; see `read_block`."""
    if not block.HasField("header"):
        raise CorruptBlockError(None, "header", "a block header", "none")
    number = block.header.number
    if number > MAX_BLOCK_NUMBER:
        raise CorruptBlockError(number, "header.number", f"at most {MAX_BLOCK_NUMBER}", number)
    envelopes = tuple(block.data.data)
    metadata = tuple(block.metadata.metadata)
    if len(envelopes) > MAX_TRANSACTIONS:
        raise CorruptBlockError(
            number, "data", f"at most {MAX_TRANSACTIONS} envelopes", len(envelopes)
        )
    data_hash = hashes.data_hash(envelopes)
    if block.header.data_hash != data_hash:
        raise CorruptBlockError(
            number,
            "header.data_hash",
            f"{data_hash.hex()} (of the envelopes)",
            block.header.data_hash.hex(),
        )
    codes = (
        metadata[common.TRANSACTIONS_FILTER] if len(metadata) > common.TRANSACTIONS_FILTER else b""
    )
    if len(codes) != len(envelopes):
        raise CorruptBlockError(
            number,
            "metadata.TRANSACTIONS_FILTER",
            f"one validation code for each of {len(envelopes)} envelopes",
            f"{len(codes)} codes" if codes else "none, as in an orderer's blocks",
        )
    return UndecodedBlock(
        number=number,
        hash=hashes.block_hash(number, block.header.previous_hash, data_hash),
        previous_hash=block.header.previous_hash,
        data_hash=data_hash,
        codes=codes,
        envelopes=envelopes,
        metadata=metadata,
        size=sum(map(len, envelopes)),
    )


def decode_block(frame: UndecodedBlock) -> Block:
    """The block as a whole; its transactions are decoded one by one, when they are asked for.

    Raises nothing: what is unreadable is named in `Transaction.errors`.
    """
    return Block(
        number=frame.number,
        hash=frame.hash,
        previous_hash=frame.previous_hash,
        data_hash=frame.data_hash,
        commit_hash=_metadata(frame, common.COMMIT_HASH).value,
        codes=frame.codes,
        last_config=_last_config(frame),
        signers=_signers(frame),
        size=frame.size,
        claims=tuple([decode_claimed_ids(envelope) for envelope in frame.envelopes]),
        transactions=_Transactions(frame),
    )


class _Transactions(Sequence[Transaction]):
    """The transactions of a block, decoded each time anew."""

    def __init__(self, frame: UndecodedBlock) -> None:
        self._frame = frame

    def __len__(self) -> int:
        return len(self._frame.envelopes)

    @overload
    def __getitem__(self, index: int) -> Transaction: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Transaction]: ...

    def __getitem__(self, index: int | slice) -> Transaction | Sequence[Transaction]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return decode_transaction(
            self._frame.envelopes[index], index % len(self), self._frame.codes[index]
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def _metadata(frame: UndecodedBlock, index: int) -> common.Metadata:
    entry = frame.metadata[index] if len(frame.metadata) > index else b""
    return parse(common.Metadata, entry, DecodingErrors()) or common.Metadata()


def _last_config(frame: UndecodedBlock) -> int | None:
    """From the signed SIGNATURES value, else from the LAST_CONFIG entry; None if neither says."""
    signed = parse(
        common.OrdererBlockMetadata, _metadata(frame, common.SIGNATURES).value, DecodingErrors()
    )
    if signed is not None and signed.HasField("last_config"):
        return signed.last_config.index
    entry = _metadata(frame, common.LAST_CONFIG).value
    last_config = parse(common.LastConfig, entry, DecodingErrors()) if entry else None
    return last_config.index if last_config is not None else None


def _signers(frame: UndecodedBlock) -> tuple[Signer, ...]:
    return tuple(_signer(signature) for signature in _metadata(frame, common.SIGNATURES).signatures)


def _signer(signature: common.MetadataSignature) -> Signer:
    if signature.identifier_header:
        header = parse(common.IdentifierHeader, signature.identifier_header, DecodingErrors())
        return Signer(identity=None, consenter_id=header.identifier if header is not None else None)
    signed = parse(common.SignatureHeader, signature.signature_header, DecodingErrors())
    return Signer(
        identity=decode_identity(signed.creator) if signed is not None else None, consenter_id=None
    )


def _describe(block_bytes: bytes) -> str:
    return f"{len(block_bytes)} bytes beginning {block_bytes[:8].hex() or 'with nothing'}"
