"""The blocks of one channel as a peer holds them, in memory or in files."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from devnet.peer.deliver_responses import block_response


class Ledger:
    """A growing list of serialized `common.Block` messages; nothing in them is looked at.

    `blocks` are in ascending order from number `first` (above 0: the peer joined from a snapshot), each as bytes
    or as the file that holds them. Files are read at each delivery, so a ledger can be larger than the memory.
    For use on one event loop.
    """

    def __init__(self, blocks: Iterable[bytes | Path] = (), *, first: int = 0) -> None:
        self.first = first
        """Number of the lowest block that this peer can deliver."""
        self.caught_up = asyncio.Event()
        """Set once a stream has read everything and waits for the next block."""
        self._blocks = list(blocks)
        self._grown = asyncio.Event()

    @classmethod
    def from_folder(cls, folder: Path) -> "Ledger":
        """The ledger in the files NNNNNN.block of a folder; see `block_files` for the errors."""
        first, files = block_files(folder)
        return cls(files, first=first)

    @property
    def height(self) -> int:
        """Number of the next block."""
        return self.first + len(self._blocks)

    def append(self, block: bytes | Path) -> None:
        """Commit the next block and wake the streams that wait for it."""
        self._blocks.append(block)
        self._grown.set()
        self._grown = asyncio.Event()

    def part(self, *, first: int | None = None, height: int | None = None) -> "Ledger":
        """The same chain as another peer may hold it: from `first` on (a snapshot's), only up to `height`."""
        start = self.first if first is None else first
        end = self.height if height is None else height
        if not self.first <= start <= end <= self.height:
            raise ValueError(
                f"blocks {start} to {end - 1} are no part of a ledger of {self.first} to {self.height - 1}"
            )
        return Ledger(self._blocks[start - self.first : end - self.first], first=start)

    def block(self, number: int) -> bytes:
        """The bytes of one block. LookupError if the ledger does not hold it."""
        if not self.first <= number < self.height:
            raise LookupError(
                f"block {number} is not in a ledger of {self.first} to {self.height - 1}"
            )
        block = self._blocks[number - self.first]
        return block if isinstance(block, bytes) else block.read_bytes()

    def response(self, number: int) -> bytes:
        """One block as a serialized `DeliverResponse`. LookupError if the ledger does not hold it."""
        return block_response(self.block(number))

    async def available(self, number: int) -> None:
        """Return once the ledger's height is above `number`."""
        while number >= self.height:
            self.caught_up.set()
            await self._grown.wait()


def block_files(folder: Path) -> tuple[int, list[Path]]:
    """The first number, and the files NNNNNN.block of a folder in ascending order.

    ValueError if there is none, a name is no number, or a number is missing or there twice.
    """
    numbered: dict[int, Path] = {}
    for path in sorted(folder.glob("*.block")):
        if not path.stem.isdecimal():
            raise ValueError(
                f"{path} is not named after its block number, as in 000042.block; rename or remove it"
            )
        if int(path.stem) in numbered:
            raise ValueError(
                f"{numbered[int(path.stem)]} and {path} are the same block; remove one of them"
            )
        numbered[int(path.stem)] = path
    if not numbered:
        raise ValueError(f"{folder} holds no NNNNNN.block file; name a folder of serialized blocks")
    first, last = min(numbered), max(numbered)
    missing = next((number for number in range(first, last) if number not in numbered), None)
    if missing is not None:
        raise ValueError(f"{folder} holds blocks {first} to {last}, but not {missing}; add it")
    return first, [numbered[number] for number in range(first, last + 1)]
