"""Reads blocks from archives, and checks them before they are sent."""

import asyncio
from hashlib import sha256
from typing import Final

from msgspec import Struct

from explorer_api.http.problems import ProblemError, unavailable
from ledger.decoding.block_identities import BlockIdentity
from ledger.errors import ArchiveUnavailableError, LedgerError
from ledger.raw_blocks import RawBlocks, check_raw_block

_CONCURRENT: Final = 2
"""How many raw blocks are read and checked at a time; a block may have 100 MB."""
_SMALL_BYTES: Final = 1 << 16
"""The size of blocks up to which they are checked without a thread."""


class CheckedBlock(Struct, frozen=True):
    """The bytes of a block that equals the stored one, and their ETag."""

    data: bytes
    etag: str


class CheckedRawBlocks:
    """Reads raw blocks of all channels, a few at a time."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(_CONCURRENT)

    async def read(self, archive: RawBlocks, stored: BlockIdentity) -> CheckedBlock:
        """Return the raw block of a stored block.

        Raises `ProblemError` if it is not kept, cannot be read, or is not the stored block.
        """
        async with self._free:
            try:
                data = await archive.raw_block(stored.number)
                if data is None:
                    raise _not_retained(stored.number)
                if len(data) <= _SMALL_BYTES:
                    return _check(data, stored, archive.name)
                return await asyncio.to_thread(_check, data, stored, archive.name)
            except LedgerError as error:
                raise _damaged(stored.number, error) from error
            except ArchiveUnavailableError as error:
                raise archive_unavailable(error) from error


def archive_unavailable(error: ArchiveUnavailableError) -> ProblemError:
    """Return the problem for an archive that cannot be read now."""
    return unavailable(
        "archive-unavailable",
        "Archive unavailable",
        f"The archive of raw blocks cannot be read: {error}",
        "Try again later; tell the operator if it lasts.",
    )


def _check(data: bytes, stored: BlockIdentity, place: str) -> CheckedBlock:
    check_raw_block(data, stored, place)
    return CheckedBlock(data, sha256(data).hexdigest()[:32])


def _not_retained(number: int) -> ProblemError:
    return ProblemError(
        410,
        "raw-not-retained",
        "Raw block not retained",
        f"The original bytes of block {number} are not kept: the operator has turned the archive "
        "of raw blocks off, or it began at a later block.",
        "Get the block from a peer with `peer channel fetch`; the envelopeHash of a transaction "
        "proves its envelope.",
    )


def _damaged(number: int, error: LedgerError) -> ProblemError:
    return ProblemError(
        500,
        "raw-block-damaged",
        "Raw block damaged",
        f"What is kept of block {number} is not the block: {error}",
        "Tell the operator: `kindledger repair` fetches the block again. Until then get it from a "
        "peer with `peer channel fetch`.",
    )
