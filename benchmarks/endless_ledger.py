"""An endless ledger, made many times faster than a forged one by repeating forged envelopes.

Each envelope is a copy of a forged one with another transaction id, other accounts and another
time, all of the same length, so that no length in the messages changes. The blocks continue one
another and have correct data hashes. The signatures are wrong, as are those of the forged ledger.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator
from hashlib import sha256
from itertools import cycle, islice
from typing import Final

from devnet.forge.forger import Recipe, forge
from devnet.wire_format import field, integer
from indexer.sources.block_source import DeliveredBlock, delivered_block
from ledger.decoding.blocks import read_block
from ledger.decoding.transactions import decode_transaction
from ledger.hashes import block_hash, data_hash
from ledger.model import VALID

FIRST: Final = 1
"""The number of the first block: the ledger has no genesis block."""

TRANSACTIONS_PER_BLOCK: Final = 500
_MVCC_READ_CONFLICT: Final = 11
_INVALID_EVERY: Final = 1_000
_ACCOUNTS: Final = 1_000_000
_BEGAN_S: Final = 1_767_225_600
"""The time of the first block, in seconds since 1970: the forged ledgers begin at this time."""

_RECIPE: Final = Recipe(seed=1, transactions_per_block=500, bulk=True, signed=False)
_TEMPLATE_BLOCKS: Final = range(30, 34)


class _Template:
    """A forged envelope, cut where its copies differ."""

    def __init__(self, envelope: bytes, tx_id: str, seconds: int) -> None:
        self._tx_id, self._time = tx_id.encode(), integer(1, seconds)
        changing = re.compile(b"|".join((rb"vi-\d{6}", self._tx_id, re.escape(self._time))))
        self._fixed = changing.split(envelope)
        self._changing = changing.findall(envelope)
        self._accounts = sorted(set(self._changing) - {self._tx_id, self._time})

    def copy(self, tx_id: bytes, account: int, seconds: int) -> bytes:
        """Return a copy with this id and time, whose accounts are numbered from `account` on."""
        values = {self._tx_id: tx_id, self._time: integer(1, seconds)}
        for index, name in enumerate(self._accounts):
            values[name] = b"vi-%06d" % ((account + index) % _ACCOUNTS)
        parts = [self._fixed[0]]
        for name, fixed in zip(self._changing, islice(self._fixed, 1, None), strict=True):
            parts += (values[name], fixed)
        return b"".join(parts)


def _templates() -> Iterator[_Template]:
    for block in islice(forge(_RECIPE), _TEMPLATE_BLOCKS.start, _TEMPLATE_BLOCKS.stop):
        undecoded = read_block(block.data)
        for envelope, code in zip(undecoded.envelopes, undecoded.codes, strict=True):
            transaction = decode_transaction(envelope, 0, code)
            if transaction.actions and transaction.timestamp is not None and code == VALID:
                yield _Template(envelope, transaction.tx_id, transaction.timestamp.seconds)


def endless_blocks(height: int) -> Iterator[bytes]:
    """Yield the serialized blocks from FIRST to `height - 1`."""
    templates = cycle(list(_templates()))
    previous_hash = sha256(b"the block before the first").digest()
    count = 0
    for number in range(FIRST, height):
        envelopes: list[bytes] = []
        codes = bytearray(TRANSACTIONS_PER_BLOCK)
        for index in range(TRANSACTIONS_PER_BLOCK):
            digest = sha256(b"%d" % count)
            account = int.from_bytes(digest.digest()[:4], "little")
            envelopes.append(
                next(templates).copy(digest.hexdigest().encode(), account, _BEGAN_S + number)
            )
            if count % _INVALID_EVERY == 0:
                codes[index] = _MVCC_READ_CONFLICT
            count += 1
        digest_of_data = data_hash(envelopes)
        header = integer(1, number) + field(2, previous_hash) + field(3, digest_of_data)
        metadata = b"".join(field(1, entry) for entry in (b"", b"", bytes(codes), b"", b""))
        data = b"".join([field(1, envelope) for envelope in envelopes])
        yield field(1, header) + field(2, data) + field(3, metadata)
        previous_hash = block_hash(number, previous_hash, digest_of_data)


class EndlessSource:
    """A block source with the blocks below `height`, after which it waits as a peer does."""

    name, finite, seeks = "endless ledger", False, True

    def __init__(self, height: int) -> None:
        self._height = height

    async def newest(self) -> DeliveredBlock:
        """Return the highest block, without its content."""
        return DeliveredBlock(self._height - 1, b"", self.name)

    async def blocks(self, start: int, tip: int | None) -> AsyncGenerator[DeliveredBlock, None]:
        """Yield all blocks from the tip on."""
        first = start if tip is None else tip
        blocks = endless_blocks(self._height)
        while (block := await asyncio.to_thread(next, blocks, None)) is not None:
            delivered = delivered_block(block, self.name)
            if delivered.number >= first:
                yield delivered
        await asyncio.Event().wait()
