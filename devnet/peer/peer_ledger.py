"""The ledger of one channel on a peer, with its blocks in memory or in files."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from devnet.peer.deliver_responses import block_response


class Ledger:
    """A growing list of serialized `common.Block` messages, which are never parsed.

    `blocks` are in ascending order from number `first`, each as bytes or as a file. If `first` is
    above 0, the peer joined from a snapshot. Files are read at each delivery, so a ledger can be
    larger than the memory. An instance belongs to one event loop.
    """

    def __init__(self, blocks: Iterable[bytes | Path] = (), *, first: int = 0) -> None:
        self.first = first
        """The number of the lowest block that this peer can deliver."""
        self.caught_up = asyncio.Event()
        """Set once a stream has read all blocks and waits for the next block."""
        self._blocks = list(blocks)
        self._new_block = asyncio.Event()

    @classmethod
    def from_folder(cls, folder: Path) -> "Ledger":
        """Return the ledger in the files of a folder. Raises ValueError as `block_files`."""
        first, files = block_files(folder)
        return cls(files, first=first)

    @property
    def height(self) -> int:
        """The number of the next block."""
        return self.first + len(self._blocks)

    def append(self, block: bytes | Path) -> None:
        """Commit the next block and wake the streams that wait for it."""
        self._blocks.append(block)
        self._new_block.set()
        self._new_block = asyncio.Event()

    def part(self, *, first: int | None = None, height: int | None = None) -> "Ledger":
        """Return a part of the ledger: from `first` on, as after a snapshot, up to `height`."""
        start = self.first if first is None else first
        end = self.height if height is None else height
        if not self.first <= start <= end <= self.height:
            raise ValueError(
                f"blocks {start} to {end - 1} are not all in a ledger of blocks {self.first} to "
                f"{self.height - 1}"
            )
        return Ledger(self._blocks[start - self.first : end - self.first], first=start)

    def replaced(self, number: int, block: bytes) -> "Ledger":
        """Return a copy of the ledger in which one block is another one."""
        blocks = list(self._blocks)
        blocks[number - self.first] = block
        return Ledger(blocks, first=self.first)

    def block(self, number: int) -> bytes:
        """Return the bytes of a block. Raises LookupError if the ledger does not have it."""
        block = self.unread(number)
        return block if isinstance(block, bytes) else block.read_bytes()

    def unread(self, number: int) -> bytes | Path:
        """Return the bytes of a block, or the file that has them. Raises LookupError as `block`."""
        if not self.first <= number < self.height:
            raise LookupError(
                f"block {number} is not in a ledger of blocks {self.first} to {self.height - 1}"
            )
        return self._blocks[number - self.first]

    def response(self, number: int) -> bytes:
        """Return a block as a serialized `DeliverResponse`. Raises LookupError as `block`."""
        return block_response(self.block(number))

    async def wait_for_block(self, number: int) -> None:
        """Return once the ledger has the block `number`."""
        while number >= self.height:
            self.caught_up.set()
            await self._new_block.wait()


def block_files(folder: Path) -> tuple[int, list[Path]]:
    """Return the first block number and the files NNNNNN.block of a folder, in ascending order.

    Raises ValueError if there is no file, a name is not a number, or a number is missing or occurs
    twice.
    """
    numbered: dict[int, Path] = {}
    for path in sorted(folder.glob("*.block")):
        if not path.stem.isdecimal():
            raise ValueError(
                f"{path} is not named after its block number, as in 000042.block; rename it"
            )
        if int(path.stem) in numbered:
            raise ValueError(
                f"{numbered[int(path.stem)]} and {path} are the same block; remove one of them"
            )
        numbered[int(path.stem)] = path
    if not numbered:
        raise ValueError(f"{folder} has no NNNNNN.block file; give a folder of serialized blocks")
    first, last = min(numbered), max(numbered)
    missing = next((number for number in range(first, last) if number not in numbered), None)
    if missing is not None:
        raise ValueError(
            f"{folder} has blocks {first} to {last}, but not block {missing}; add this block"
        )
    return first, [numbered[number] for number in range(first, last + 1)]
