"""Decodes blocks in two steps: first a block without its envelopes, then the envelopes.

The first step is fast, because no envelope is decoded. It checks the data hash and the number of
validation codes. An `UndecodedBlock` is sufficient to find out whether a block belongs to a chain,
and whether it equals a stored block.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Final, overload

from google.protobuf.message import DecodeError
from msgspec import Struct

from ledger import hashes
from ledger.decoding.fields import length_delimited_fields, repeated_values
from ledger.decoding.identities import decode_identity
from ledger.decoding.parsing import DecodingErrors, parse
from ledger.decoding.transactions import decode_claimed_ids, decode_transaction
from ledger.errors import CorruptBlockError
from ledger.model import Block, ClaimedIds, Signer, Transaction
from ledger.position import MAX_BLOCK_NUMBER, MAX_TRANSACTIONS
from protos import common_pb2 as common

_HEADER, _DATA, _METADATA = 1, 2, 3
"""The numbers of the fields of `common.Block`."""

_BLOCK_FIELDS: Final = {_HEADER, _DATA, _METADATA}


class UndecodedBlock(Struct, frozen=True):
    """A block whose envelopes are not decoded; its data hash and number of codes are correct."""

    number: int
    hash: bytes
    previous_hash: bytes
    data_hash: bytes
    codes: bytes
    envelopes: tuple[bytes, ...]
    metadata: tuple[bytes, ...]
    size: int


def block_number(block_bytes: bytes | memoryview, name: str) -> int:
    """Return the number of a serialized `common.Block`, whose other parts are not parsed.

    Raises `CorruptBlockError`, which calls the bytes by `name`, when there is no header.
    """
    fields = length_delimited_fields(memoryview(block_bytes))
    try:
        if fields is not None and _HEADER in fields:
            return common.BlockHeader.FromString(bytes(fields[_HEADER])).number
    except DecodeError:
        raise _unparsable(block_bytes, name) from None
    return _parse_block(block_bytes, name).header.number


def read_block(block_bytes: bytes | memoryview, name: str = "bytes") -> UndecodedBlock:
    """Return the checked block in a serialized `common.Block`; see `check_block`.

    Raises `CorruptBlockError`, which calls the bytes by `name`, when they cannot be parsed.
    """
    parts = _split_block(memoryview(block_bytes))
    if parts is None:
        block = _parse_block(block_bytes, name)
        parts = block.header, block.data.data, block.metadata.metadata
    header, envelopes, metadata = parts
    return check_block(
        header.number, header.previous_hash, header.data_hash, tuple(envelopes), tuple(metadata)
    )


def _split_block(
    block_bytes: memoryview,
) -> tuple[common.BlockHeader, Sequence[bytes], Sequence[bytes]] | None:
    """Return the header, the envelopes and the metadata of a block with the usual fields only.

    Return None for any other bytes. Protobuf would copy all envelopes once more, and give the
    process's free memory back to the system each time.
    """
    fields = length_delimited_fields(block_bytes)
    if fields is None or fields.keys() != _BLOCK_FIELDS:
        return None
    envelopes = repeated_values(fields[_DATA], 1)
    metadata = repeated_values(fields[_METADATA], 1)
    if envelopes is None or metadata is None:
        return None
    try:
        return common.BlockHeader.FromString(bytes(fields[_HEADER])), envelopes, metadata
    except DecodeError:
        return None


def _parse_block(block_bytes: bytes | memoryview, name: str) -> common.Block:
    try:
        block = common.Block.FromString(bytes(block_bytes))
    except DecodeError:
        raise _unparsable(block_bytes, name) from None
    if not block.HasField("header"):
        got = f"{len(block_bytes)} bytes without a block header"
        raise CorruptBlockError(None, name, "a serialized common.Block", got)
    return block


def _unparsable(block_bytes: bytes | memoryview, name: str) -> CorruptBlockError:
    beginning = bytes(block_bytes[:8]).hex() or "with nothing"
    got = f"{len(block_bytes)} bytes beginning {beginning}"
    return CorruptBlockError(None, name, "a serialized common.Block", got)


def check_block(
    number: int,
    previous_hash: bytes,
    claimed_data_hash: bytes,
    envelopes: tuple[bytes, ...],
    metadata: tuple[bytes, ...],
) -> UndecodedBlock:
    """Return the block with these parts, after a check of each part against the others.

    `claimed_data_hash` is the data hash in the header. Raises `CorruptBlockError` when the number
    or the number of envelopes is too large, when the data hash is not the hash of the envelopes, or
    when TRANSACTIONS_FILTER does not hold one validation code for each envelope (the blocks of an
    orderer hold none).
    """
    if number > MAX_BLOCK_NUMBER:
        raise CorruptBlockError(number, "header.number", f"at most {MAX_BLOCK_NUMBER}", number)
    if len(envelopes) > MAX_TRANSACTIONS:
        raise CorruptBlockError(
            number, "data", f"at most {MAX_TRANSACTIONS} envelopes", len(envelopes)
        )
    data_hash = hashes.data_hash(envelopes)
    if claimed_data_hash != data_hash:
        raise CorruptBlockError(
            number,
            "header.data_hash",
            f"{data_hash.hex()} (of the envelopes)",
            claimed_data_hash.hex(),
        )
    return UndecodedBlock(
        number=number,
        hash=hashes.block_hash(number, previous_hash, data_hash),
        previous_hash=previous_hash,
        data_hash=data_hash,
        codes=_validation_codes(number, metadata, len(envelopes)),
        envelopes=envelopes,
        metadata=metadata,
        size=sum(map(len, envelopes)),
    )


def _validation_codes(number: int, metadata: Sequence[bytes], envelope_count: int) -> bytes:
    codes = (
        metadata[common.TRANSACTIONS_FILTER] if len(metadata) > common.TRANSACTIONS_FILTER else b""
    )
    if len(codes) != envelope_count:
        raise CorruptBlockError(
            number,
            "metadata.TRANSACTIONS_FILTER",
            f"one validation code for each of {envelope_count} envelopes",
            f"{len(codes)} codes" if codes else "none, as in the blocks of an orderer",
        )
    return codes


def decode_block(block: UndecodedBlock, claims: tuple[ClaimedIds, ...] | None = None) -> Block:
    """Return the decoded block; each transaction is decoded when it is accessed.

    `claims` are the ids that the envelopes claim, if they are decoded already. No content of an
    envelope raises an error: `Transaction.errors` names the parts that cannot be decoded.
    """
    if claims is None:
        claims = tuple([decode_claimed_ids(envelope) for envelope in block.envelopes])
    return Block(
        number=block.number,
        hash=block.hash,
        previous_hash=block.previous_hash,
        data_hash=block.data_hash,
        commit_hash=_metadata(block, common.COMMIT_HASH).value,
        codes=block.codes,
        last_config=_last_config(block),
        signers=_signers(block),
        size=block.size,
        claims=claims,
        transactions=_Transactions(block),
    )


class _Transactions(Sequence[Transaction]):
    """The transactions of a block, which are decoded anew at each access."""

    def __init__(self, block: UndecodedBlock) -> None:
        self._block = block

    def __len__(self) -> int:
        return len(self._block.envelopes)

    @overload
    def __getitem__(self, index: int) -> Transaction: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Transaction]: ...

    def __getitem__(self, index: int | slice) -> Transaction | Sequence[Transaction]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return decode_transaction(
            self._block.envelopes[index], index % len(self), self._block.codes[index]
        )

    def __iter__(self) -> Iterator[Transaction]:
        return map(decode_transaction, self._block.envelopes, count(), self._block.codes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def _metadata(block: UndecodedBlock, index: int) -> common.Metadata:
    entry = block.metadata[index] if len(block.metadata) > index else b""
    return parse(common.Metadata, entry, DecodingErrors()) or common.Metadata()


def _last_config(block: UndecodedBlock) -> int | None:
    """Return the number of the last CONFIG block, or None if the block does not have it.

    It is in the signed value of the SIGNATURES entry, or else in the LAST_CONFIG entry.
    """
    signed = parse(
        common.OrdererBlockMetadata, _metadata(block, common.SIGNATURES).value, DecodingErrors()
    )
    if signed is not None and signed.HasField("last_config"):
        return signed.last_config.index
    entry = _metadata(block, common.LAST_CONFIG).value
    last_config = parse(common.LastConfig, entry, DecodingErrors()) if entry else None
    return last_config.index if last_config is not None else None


def _signers(block: UndecodedBlock) -> tuple[Signer, ...]:
    return tuple(_signer(signature) for signature in _metadata(block, common.SIGNATURES).signatures)


def _signer(signature: common.MetadataSignature) -> Signer:
    if signature.identifier_header:
        header = parse(common.IdentifierHeader, signature.identifier_header, DecodingErrors())
        return Signer(identity=None, consenter_id=header.identifier if header is not None else None)
    signed = parse(common.SignatureHeader, signature.signature_header, DecodingErrors())
    return Signer(
        identity=decode_identity(signed.creator) if signed is not None else None, consenter_id=None
    )
