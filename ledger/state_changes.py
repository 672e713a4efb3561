"""The final change of each key by a block, in the form that Fabric's commit hash covers.

The rules are those of Fabric's peer, in `core/ledger/kvledger/txmgmt`: `prepareTxOps` and
`applyWriteSet` (validation) decide what a transaction does to a key, `IsKVWriteDelete` and
`IsKVWriteHashDelete` (rwsetutil) what deletes it, and `deterministicBytesForPubAndHashUpdates`
(txmgr) serializes the changes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum, StrEnum
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from typing import Final, Literal, TypeAlias

from ledger.model import VALID, CollectionHashes, ReadWriteSet, Transaction

MAX_CHANGES: Final = 500_000
"""The most writes of a block from which the changes are made, so that memory is bounded."""

StateKey: TypeAlias = tuple[str, str, bytes]
"""A namespace, a collection ("" for public data), and a key (in a collection its hash)."""

Write: TypeAlias = tuple[int, str, str, bytes, bool, bytes]
"""Index of the transaction, namespace, collection, key, whether it is a deletion, and value."""


class Unchecked(StrEnum):
    """The reason why the commit hash of a block is not checked."""

    ABSENT = "absent"
    """The peer gave none, and no earlier block is known to have one."""
    LEFT_OUT = "left_out"
    """The peer gave none, though earlier blocks have one: a peer that has one gives all."""
    PREVIOUS_UNKNOWN = "previous_unknown"
    """The block before has none, or is below the start block."""
    VALUE_UNKNOWN = "value_unknown"
    """A write of metadata needs the earlier value of its key, which cannot be found."""
    CONVERTED_VALUE = "converted_value"
    """A write of metadata needs the earlier value of its key, and that is a JSON object.

    A peer with CouchDB may give the object back in another form than it was written
    (`couchDocToKeyValue` in `statecouchdb`), so that its commit hash is another one.
    """
    UNDECODABLE = "undecodable"
    """A VALID transaction could not be decoded wholly."""
    TOO_MANY_WRITES = "too_many_writes"
    """The block has more than `MAX_CHANGES` writes."""
    EMPTY_PRIVATE_VALUE = "empty_private_value"
    """The block writes an empty private value, and has the hash of no current version of Fabric.

    Fabric before 2.2.2, and 2.3.0, stored such a value; later versions delete the key (FAB-18386).
    """


class _Earlier(Enum):
    VALUE = 0


_EARLIER_VALUE: Final = _Earlier.VALUE
"""The value that a key has before the block, which the block does not tell."""

_Value: TypeAlias = bytes | Literal[_Earlier.VALUE] | None
"""A value; None for a deletion."""

_Operation: TypeAlias = tuple[StateKey, int, bytes]
"""A key, what is done to it, and the value."""

_PUT, _SET_METADATA, _CLEAR_METADATA, _DELETE = 1, 2, 4, 8
"""What a transaction does to a key. Fabric adds these numbers in eight bits.

So a key that is written twice, which no endorser's peer does, counts as a write of metadata.
"""

_PUT_EMPTY_HASH: Final = -1
_METADATA: Final = _SET_METADATA | _CLEAR_METADATA
_NO_OPERATION: Final = (0, b"")
_HASH_OF_EMPTY: Final = sha256().digest()
_NO_CHANGE: Final = (_EARLIER_VALUE, 0)
_NO_VALUES: Final[Mapping[StateKey, bytes | None]] = {}
_INDEX_OF_WRITE: Final = itemgetter(0)
_LENGTHS: Final = [bytes([length]) for length in range(0x80)]
_DELETED: Final = b"\x20\x01"
_ENTRY = _NAMESPACE = b"\x0a"
_COLLECTION, _KEY, _VALUE, _VERSION = b"\x12", b"\x1a", b"\x2a", b"\x32"
"""The tags of the fields of `Updates` and of its `KVWrite`."""


class StateChanges:
    """Collects what the VALID transactions of a block do to keys, in the order of the block."""

    def __init__(self) -> None:
        self.unchecked: Unchecked | None = None
        """The reason why the changes are not complete; None if they are."""
        self.has_empty_private_value = False
        """Whether a private value is empty but is no deletion, see `Unchecked`."""
        self._changes: dict[StateKey, tuple[_Value, int]] = {}
        """The value, and the index of the transaction that changed it."""
        self._count = 0

    def add(self, transaction: Transaction) -> None:
        """Add the changes of a transaction; one that is not VALID has none.

        Only the first action counts. A CONFIG transaction has no read/write sets: the peer keeps
        the configuration in the empty namespace, which is left out.
        """
        if transaction.code != VALID:
            return
        if transaction.errors and self.unchecked is None:
            self.unchecked = Unchecked.UNDECODABLE
        if transaction.actions:
            self.add_sets(transaction.index, transaction.actions[0].rwsets)

    def add_sets(self, index: int, rwsets: Sequence[ReadWriteSet]) -> None:
        """Add the changes of the VALID transaction at an index, which has these sets."""
        self._apply(index, _operations(rwsets), sum(map(_write_count, rwsets)))

    def add_writes(self, writes: Iterable[Write]) -> None:
        """Add writes of VALID transactions, in the order of the block."""
        for index, group in groupby(writes, _INDEX_OF_WRITE):
            operations = [
                ((namespace, collection, key), _operation(collection, value, is_delete), value)
                for _, namespace, collection, key, is_delete, value in group
            ]
            self._apply(index, operations, len(operations))

    def _apply(self, index: int, operations: Iterable[_Operation], count: int) -> None:
        """Apply the operations of one transaction."""
        self._count += count
        if self._count > MAX_CHANGES:
            self.stop()
            return
        sums: dict[StateKey, tuple[int, bytes]] = {}
        for key, operation, value in operations:
            flags, earlier = sums.get(key, _NO_OPERATION)
            if operation == _PUT_EMPTY_HASH:
                self.has_empty_private_value = True
                operation = _DELETE  # noqa: PLW2901
            sums[key] = (flags + operation) & 0xFF, value if operation == _PUT else earlier
        changes = self._changes
        for key, (flags, value) in sums.items():
            if flags & _DELETE:
                changes[key] = None, index
            elif flags <= _PUT or (flags & _PUT and flags & _METADATA):
                changes[key] = value, index
            else:  # metadata only: the value stays, and gets a new version
                earlier_value, _ = changes.get(key, _NO_CHANGE)
                if earlier_value is not None:
                    changes[key] = earlier_value, index

    def stop(self) -> None:
        """Forget all changes, because the block has more than `MAX_CHANGES` writes."""
        self.unchecked = Unchecked.TOO_MANY_WRITES
        self._changes.clear()

    def missing(self) -> set[StateKey]:
        """Return the keys whose values from before the block are needed."""
        return {key for key, (value, _) in self._changes.items() if value is _EARLIER_VALUE}

    def updates(self, number: int) -> "bytes | StateChanges":
        """Return the serialized changes if block `number` alone tells them, else this object."""
        uncertain = self.unchecked is not None or self.has_empty_private_value or self.missing()
        return self if uncertain else self.serialize(number)

    def serialize(self, number: int, values: Mapping[StateKey, bytes | None] = _NO_VALUES) -> bytes:
        """Return the serialized message `Updates` of block `number`.

        `values` has the missing values; None means that the key did not exist, so that nothing
        happens to it. Namespaces, collections and keys are in ascending order of their bytes. A
        namespace stands in its first entry only, and so does a collection.
        """
        block, parts = _number(number), list[bytes]()
        last_namespace, last_collection = "", ""
        for key in sorted(self._changes):  # text in UTF-8 has the order of its code points
            namespace, collection, name = key
            value, index = self._changes[key]
            if value is _EARLIER_VALUE:
                value = values[key]
                if value is None:
                    continue
            entry = b""
            if namespace != last_namespace:
                entry = _field(_NAMESPACE, namespace.encode())
                last_namespace, last_collection = namespace, ""
            if collection != last_collection:
                entry += _field(_COLLECTION, collection.encode())
                last_collection = collection
            entry += _field(_KEY, name) + (_DELETED if value is None else _field(_VALUE, value))
            entry += _field(_VERSION, block + _number(index))
            parts.append(_field(_ENTRY, entry))
        return b"".join(parts)


def _operations(rwsets: Iterable[ReadWriteSet]) -> Iterator[_Operation]:
    """Yield what a transaction's read/write sets do to keys."""
    for rwset in rwsets:
        namespace = rwset.namespace
        if not namespace:
            continue  # the channel's configuration
        for write in rwset.writes:
            value = write.value
            operation = _DELETE if write.is_delete or not value else _PUT
            yield (namespace, "", write.key.encode()), operation, value
        for metadata in rwset.metadata_writes:
            operation = _SET_METADATA if metadata.entries else _CLEAR_METADATA
            yield (namespace, "", _bytes(metadata.key)), operation, b""
        for collection in rwset.collections:
            yield from _hash_operations(namespace, collection)


def _hash_operations(namespace: str, hashes: CollectionHashes) -> Iterator[_Operation]:
    collection = hashes.collection
    for write in hashes.writes:
        value = write.value_hash
        operation = _hash_operation(value, write.is_delete)
        yield (namespace, collection, write.key_hash), operation, value
    for metadata in hashes.metadata_writes:
        operation = _SET_METADATA if metadata.entries else _CLEAR_METADATA
        yield (namespace, collection, _bytes(metadata.key)), operation, b""


def _operation(collection: str, value: bytes, is_delete: bool) -> int:  # noqa: FBT001
    if collection:
        return _hash_operation(value, is_delete)
    return _DELETE if is_delete or not value else _PUT


def _hash_operation(value_hash: bytes, is_delete: bool) -> int:  # noqa: FBT001
    if is_delete or not value_hash:
        return _DELETE
    return _PUT_EMPTY_HASH if value_hash == _HASH_OF_EMPTY else _PUT


def _write_count(rwset: ReadWriteSet) -> int:
    count = len(rwset.writes) + len(rwset.metadata_writes)
    for collection in rwset.collections:
        count += len(collection.writes) + len(collection.metadata_writes)
    return count


def _bytes(key: str | bytes) -> bytes:
    return key.encode() if isinstance(key, str) else key


def _number(number: int) -> bytes:
    """Return the bytes of a number in a version: how many there are, then these, big-endian."""
    size = (number.bit_length() + 7) // 8
    return bytes((size,)) + number.to_bytes(size, "big")


def _field(tag: bytes, content: bytes) -> bytes:
    """Return a length-delimited field; proto3 leaves out an empty one."""
    size = len(content)
    if size < 0x80:
        return tag + _LENGTHS[size] + content if size else b""
    return tag + varint(size) + content


def varint(number: int) -> bytes:
    """Return a number that is not negative as protobuf writes it."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
