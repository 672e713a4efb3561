"""Encoded documents in one sequence of bytes, as they are sent to MongoDB."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import overload

from bson.raw_bson import RawBSONDocument


class JoinedDocuments(Sequence[RawBSONDocument]):
    """Encoded documents, one directly after the other in `raw`.

    A document becomes a Python object only when it is accessed. To access one document takes a walk
    over all documents.
    """

    def __init__(self, raw: bytes, count: int) -> None:
        self.raw, self._count = raw, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[RawBSONDocument]:
        start = 0
        while start < len(self.raw):
            end = start + _size_at(self.raw, start)
            yield RawBSONDocument(self.raw[start:end])
            start = end

    @overload
    def __getitem__(self, index: int) -> RawBSONDocument: ...

    @overload
    def __getitem__(self, index: slice) -> "JoinedDocuments": ...

    def __getitem__(self, index: int | slice) -> "RawBSONDocument | JoinedDocuments":
        if isinstance(index, slice):
            return join([document.raw for document in list(self)[index]])
        return list(self)[index]

    def parts(self, max_bytes: int, max_count: int) -> "Iterator[JoinedDocuments]":
        """Yield the documents in parts within both limits; a larger document is its own part."""
        start = end = count = 0
        while end < len(self.raw):
            size = _size_at(self.raw, end)
            if count and (count == max_count or end + size - start > max_bytes):
                yield JoinedDocuments(self.raw[start:end], count)
                start, count = end, 0
            end, count = end + size, count + 1
        if count:
            yield JoinedDocuments(self.raw[start:end], count)


def join(documents: Iterable[bytes | memoryview]) -> JoinedDocuments:
    """Return encoded documents joined."""
    encoded = list(documents)
    return JoinedDocuments(b"".join(encoded), len(encoded))


def join_fields(*encoded: bytes) -> bytes:
    """Return one encoded document with the fields of several, which have different names."""
    fields = b"".join([document[4:-1] for document in encoded])
    return (len(fields) + 5).to_bytes(4, "little") + fields + b"\0"


def messages(
    joined: Sequence[JoinedDocuments], max_bytes: int, max_count: int
) -> Iterator[list[JoinedDocuments]]:
    """Yield all documents in order, in groups within both limits.

    A group that exceeds `max_bytes` has only one document.
    """
    group: list[JoinedDocuments] = []
    size = count = 0
    for part in chain.from_iterable(_within(each, max_bytes, max_count) for each in joined):
        if group and (size + len(part.raw) > max_bytes or count + len(part) > max_count):
            yield group
            group, size, count = [], 0, 0
        group.append(part)
        size, count = size + len(part.raw), count + len(part)
    if group:
        yield group


def _within(
    documents: JoinedDocuments, max_bytes: int, max_count: int
) -> Iterable[JoinedDocuments]:
    """Return the documents as they are if they are within the limits, else in parts."""
    if len(documents.raw) <= max_bytes and len(documents) <= max_count:
        return (documents,) if len(documents) else ()
    return documents.parts(max_bytes, max_count)


def _size_at(raw: bytes, start: int) -> int:
    """Return the size of the document that begins at `start`; BSON has it in its first 4 bytes."""
    return int.from_bytes(raw[start : start + 4], "little")
