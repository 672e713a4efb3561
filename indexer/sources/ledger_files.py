"""The ledger files of one channel on a peer, `blockfile_000000` and so on, read one by one."""

import re
from collections.abc import Iterable, Iterator
from typing import IO

from msgspec import Struct

from indexer.sources.ledger_records import (
    BlockRecord,
    BrokenRecordError,
    TornRecordError,
    read_records,
)
from ledger.errors import LedgerError

_NAME = re.compile(r"blockfile_([0-9]{6,18})")


class BrokenLedgerFileError(LedgerError):
    """A ledger file that no peer writes, or of which a part is missing."""

    def __init__(self, path: str, error: BrokenRecordError, what: str) -> None:
        block = "a block of unknown number" if error.block is None else f"block {error.block}"
        super().__init__(
            f"{path}: the record of {block} at byte {error.offset} cannot be read: {what}. The "
            "file was changed, or its copy is not complete. The blocks before this record are "
            "stored, no part of this one is. Copy the file from the peer again and repeat the "
            "import; it continues after the stored blocks."
        )


class SeveralLedgersError(LedgerError):
    """A folder or an archive with the ledger files of several channels."""

    def __init__(self, path: str, folders: Iterable[str]) -> None:
        super().__init__(
            f"{path}: has ledger files in several folders, one for each channel: "
            f"{', '.join(sorted(folders))}. An import reads one channel: give one of these folders "
            "(unpack an archive before), and import the channels one after the other."
        )


class _TornFile(Struct, frozen=True):
    number: int
    path: str
    error: TornRecordError


class LedgerFiles:
    """The ledger files of one folder.

    `last` is the highest number among the files, as far as it is known: the last record of the
    highest file may be incomplete, that of any other may not.
    """

    def __init__(self, last: int = -1) -> None:
        self._last = last
        self._following: dict[int, int | None] = {}
        """The number of the block after each file that was read, None for files without blocks."""
        self._torn: _TornFile | None = None

    @property
    def notice(self) -> str | None:
        """What to tell the user after all files were read: the last block is not complete."""
        if self._torn is None:
            return None
        block = self._torn.error.block
        within = "a block" if block is None else f"block {block}"
        return (
            f"{self._torn.path} ends within {within}: the peer is still writing it, or the copy is "
            "not complete. All blocks before it were read. Import again later: the import "
            "continues there."
        )

    def read(self, path: str, number: int, file: IO[bytes]) -> Iterator[BlockRecord]:
        """Yield the blocks of the file with this number, which is open at its beginning.

        `path` names the file in messages. Raises `BrokenLedgerFileError` for a record that cannot
        be read, and for an incomplete one if a file with a higher number exists.
        """
        self._last = max(self._last, number)
        self._check_torn()
        following = self._following.get(number - 1)
        try:
            for record in read_records(file, following):
                yield record
                following = record.number + 1
        except TornRecordError as error:
            self._torn = _TornFile(number, path, error)
            self._check_torn()
        except BrokenRecordError as error:
            raise BrokenLedgerFileError(path, error, str(error)) from None
        self._following[number] = following

    def _check_torn(self) -> None:
        torn = self._torn
        if torn is not None and torn.number < self._last:
            what = f"{torn.error}, though {ledger_file_name(self._last)} follows"
            raise BrokenLedgerFileError(torn.path, torn.error, what) from None


def ledger_file_name(number: int) -> str:
    """Return the name that a peer gives to a ledger file."""
    return f"blockfile_{number:06}"


def ledger_file_number(name: str) -> int | None:
    """Return the number of the ledger file with this name; None for any other name."""
    found = _NAME.fullmatch(name)
    if found is None or ledger_file_name(int(found[1])) != name:
        return None
    return int(found[1])
