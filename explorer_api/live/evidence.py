"""Evidence bundles, made in a few threads from the archives of raw blocks."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from explorer_api.options import ServiceLimits
from ledger.mongodb.reader import LedgerReader
from ledger.raw_blocks import RawBlocks

T = TypeVar("T")


class EvidenceBundles:
    """Makes the evidence bundles of all channels; the number of threads and the sizes are limited.

    A request that ends early does not free its thread: the thread first finishes its bundle.
    """

    def __init__(self, limits: ServiceLimits) -> None:
        self._max_bytes = limits.evidence_block_bytes
        self._threads = ThreadPoolExecutor(limits.evidence_threads, "evidence")

    async def make(
        self, archive: RawBlocks, reader: LedgerReader, number: int, index: int
    ) -> bytes:
        """Return the bundle of the transaction at an index of a block.

        Raises `MissingBlocksError` if the archive does not have a needed block, and `LedgerError`
        if the bundle would prove nothing, or if the archive has other blocks than the ledger.
        """

        async def read(numbers: Sequence[int]) -> Mapping[int, bytes]:
            found = {each: await archive.raw_block(each) for each in numbers}
            return {each: block for each, block in found.items() if block is not None}

        return await reader.evidence(
            number, index, read, in_thread=self._in_thread, max_block_bytes=self._max_bytes
        )

    def close(self) -> None:
        """Let the threads end without waiting for them."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], T], /) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
