"""The encoder that uses the compiled extension."""

import secrets
from collections.abc import Sequence
from hashlib import sha256

import bson

from ledger.block_encoder import ClaimedBlock, EncoderName
from ledger.compiled._blocks import TransactionEncoder, claimed_ids, split_block
from ledger.decoding.blocks import UndecodedBlock, check_block, decode_block, read_block
from ledger.decoding.identities import decode_identity
from ledger.decoding.transactions import decode_claimed_ids
from ledger.documents.blocks import BlockCounts
from ledger.documents.code_names import VALIDATION_CODES, status_name, type_name
from ledger.documents.digests import NO_DIGEST
from ledger.documents.encoding import (
    EncodedBlock,
    EncodedTransactions,
    add_block_document,
    encode_transaction,
)
from ledger.documents.format import FORMAT
from ledger.documents.identities import identity_document
from ledger.documents.joined import JoinedDocuments
from ledger.documents.payloads import payload_fields
from ledger.model import Block, ClaimedIds
from protos import common_pb2 as common

_TYPE = type_name(common.ENDORSER_TRANSACTION) or ""


class CompiledEncoder:
    """Makes the documents that `PythonEncoder` makes, many times faster.

    The extension encodes envelopes in the common form; the reference encodes the others.
    """

    name = EncoderName.COMPILED

    def __init__(self) -> None:
        self.reference_count = 0
        """The number of envelopes that the reference has encoded."""
        self._transactions = TransactionEncoder(
            statuses=[status_name(code).encode() for code in VALIDATION_CODES],
            type_name=_TYPE.encode(),
            format=FORMAT,
            identity=_encode_identity,
            payload=_encode_payload,
            hash_key=secrets.token_bytes(16),
        )

    def read(self, block_bytes: bytes | memoryview, name: str = "bytes") -> UndecodedBlock:
        """Return the checked block in a serialized `common.Block`."""
        parts = split_block(block_bytes)
        return read_block(block_bytes, name) if parts is None else check_block(*parts)

    def claims(self, block: UndecodedBlock) -> ClaimedBlock:
        """Return the block with the ids that its envelopes claim."""
        return ClaimedBlock(block, tuple([_claimed_ids(each) for each in block.envelopes]))

    def encode(
        self, block: ClaimedBlock, owns: Sequence[bool], previous_digest: bytes = NO_DIGEST
    ) -> EncodedBlock:
        """Return the block's documents."""
        undecoded = block.undecoded
        decoded = decode_block(undecoded, block.claims)
        others = _OtherEnvelopes(decoded, owns)
        transactions, events, event_count, chaincodes, organisations, times = (
            self._transactions.encode(
                undecoded.number,
                undecoded.envelopes,
                undecoded.codes,
                list(owns),
                b"".join([sha256(envelope).digest() for envelope in undecoded.envelopes]),
                others.encode,
            )
        )
        self.reference_count += len(owns) - len(chaincodes)
        others.counts.add_all([_TYPE] * len(chaincodes), chaincodes, organisations, times)
        encoded = EncodedTransactions(
            JoinedDocuments(transactions, len(undecoded.envelopes)),
            JoinedDocuments(events, event_count),
            others.counts,
            others.undecodable,
        )
        return add_block_document(decoded, encoded, previous_digest)


class _OtherEnvelopes:
    """Encodes and counts the envelopes of a block that are not in the common form."""

    def __init__(self, block: Block, owns: Sequence[bool]) -> None:
        self._block, self._owns = block, owns
        self.counts = BlockCounts()
        self.undecodable = 0

    def encode(self, index: int) -> tuple[bytes, bytes | None]:
        """Return the documents of the transaction at an index and of its event."""
        transaction = self._block.transactions[index]
        self.counts.add(transaction)
        self.undecodable += bool(transaction.errors)
        return encode_transaction(transaction, self._block.number, owns_id=self._owns[index])


def _claimed_ids(envelope: bytes) -> ClaimedIds:
    claimed = claimed_ids(envelope)
    return decode_claimed_ids(envelope) if claimed is None else ClaimedIds(*claimed)


def _encode_identity(serialized: bytes) -> tuple[str, bytes] | None:
    """Return the MSP id and the encoded document of an identity, or None if it is not decodable."""
    identity = decode_identity(serialized)
    if identity is None:
        return None
    return identity.msp_id, bson.encode(identity_document(identity))


def _encode_payload(payload: bytes) -> bytes:
    return bson.encode(payload_fields(payload))
