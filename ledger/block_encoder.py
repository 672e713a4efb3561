"""Makes the documents of a block from its bytes.

`PythonEncoder` is the reference. `ledger.compiled` has a faster encoder for the common forms of
envelopes, which gives the same documents.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from ledger.decoding.blocks import UndecodedBlock, decode_block, read_block
from ledger.decoding.transactions import decode_claimed_ids
from ledger.documents.digests import NO_DIGEST
from ledger.documents.encoding import EncodedBlock, encode_block
from ledger.model import ClaimedIds


class EncoderName(StrEnum):
    """The encoder of blocks that a process uses."""

    COMPILED = "compiled"
    PYTHON = "python"


class ClaimedBlock(Struct, frozen=True):
    """A checked block with the ids that its envelopes claim; no other part is decoded."""

    undecoded: UndecodedBlock
    claims: tuple[ClaimedIds, ...]

    @property
    def number(self) -> int:
        """The block's number."""
        return self.undecoded.number

    @property
    def codes(self) -> bytes:
        """The validation code of each envelope."""
        return self.undecoded.codes


class BlockEncoder(Protocol):
    """Makes documents from blocks in three steps, between which the chain is checked.

    The methods may be called from any thread, one at a time.
    """

    @property
    def name(self) -> EncoderName:
        """The name of the encoder, for operators."""

    def read(self, block_bytes: bytes | memoryview, name: str = "bytes") -> UndecodedBlock:
        """Return the checked block in a serialized `common.Block`.

        Raises `CorruptBlockError`, which calls the bytes by `name`.
        """

    def claims(self, block: UndecodedBlock) -> ClaimedBlock:
        """Return the block with the ids that its envelopes claim."""

    def encode(
        self, block: ClaimedBlock, owns: Sequence[bool], previous_digest: bytes = NO_DIGEST
    ) -> EncodedBlock:
        """Return the block's documents.

        `owns` tells for each envelope whether it owns its id. `previous_digest` is the digest of
        the block before, if it has one.
        """


class PythonEncoder:
    """Makes documents with the readable decoder, which knows every form of an envelope."""

    name = EncoderName.PYTHON

    def read(self, block_bytes: bytes | memoryview, name: str = "bytes") -> UndecodedBlock:
        """Return the checked block in a serialized `common.Block`."""
        return read_block(block_bytes, name)

    def claims(self, block: UndecodedBlock) -> ClaimedBlock:
        """Return the block with the ids that its envelopes claim."""
        return ClaimedBlock(block, tuple([decode_claimed_ids(each) for each in block.envelopes]))

    def encode(
        self, block: ClaimedBlock, owns: Sequence[bool], previous_digest: bytes = NO_DIGEST
    ) -> EncodedBlock:
        """Return the block's documents."""
        return encode_block(decode_block(block.undecoded, block.claims), owns, previous_digest)
