"""The world state, the read/write set of a simulated transaction, and the check that a peer makes at commit.

Private data is kept under the namespace `<chaincode>$<collection>`, much as Fabric's own state database does.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from protos.kvrwset_pb2 import (
    HashedRWSet,
    KVMetadataEntry,
    KVMetadataWrite,
    KVRead,
    KVReadHash,
    KVRWSet,
    KVWrite,
    KVWriteHash,
    QueryReads,
    QueryReadsMerkleSummary,
    RangeQueryInfo,
    Version,
)
from protos.rwset_pb2 import CollectionHashedReadWriteSet, NsReadWriteSet, TxReadWriteSet
from protos.transaction_pb2 import (
    MVCC_READ_CONFLICT,
    PHANTOM_READ_CONFLICT,
    VALID,
    TxValidationCode,
)

_MERKLE_DEGREE = 50
"""Fabric records at most this many results of a range query one by one, more of them as hashes."""


class Height(NamedTuple):
    """Where a key was last written."""

    block: int
    transaction: int


class Stored(NamedTuple):
    """A key's value and version."""

    value: bytes
    height: Height


class RangeQuery(NamedTuple):
    """A range query as simulated: [start, end), and the keys found."""

    namespace: str
    start: str
    end: str
    found: list[tuple[str, Height]]


class WorldState:
    """Values and versions of the keys of all namespaces.

    Keys that begin with one of `write_once` are not remembered, so that an endless chain needs bounded memory:
    the chaincode promises never to read them.
    """

    def __init__(self, *, write_once: tuple[str, ...]) -> None:
        self._write_once = write_once
        self._values: dict[str, dict[str, Stored]] = {}
        self._ordered: dict[str, list[str]] = {}

    def get(self, namespace: str, key: str) -> Stored | None:
        """A key as committed; None if it does not exist."""
        return self._values.get(namespace, {}).get(key)

    def range(self, namespace: str, start: str, end: str) -> list[tuple[str, Height]]:
        """The keys of [start, end) in their order, with their versions."""
        ordered = self._ordered.get(namespace, [])
        values = self._values.get(namespace, {})
        return [
            (key, values[key].height)
            for key in ordered[bisect_left(ordered, start) : bisect_left(ordered, end)]
        ]

    def commit(self, simulation: "Simulation", height: Height) -> TxValidationCode.ValueType:
        """Apply a simulated transaction at its place in the chain, or say which of its reads no longer holds."""
        for namespace, reads in simulation.reads.items():
            for key, seen in reads.items():
                stored = self.get(namespace, key)
                if (stored and stored.height) != seen:
                    return MVCC_READ_CONFLICT
        for query in simulation.ranges:
            if self.range(query.namespace, query.start, query.end) != query.found:
                return PHANTOM_READ_CONFLICT
        for namespace, writes in simulation.writes.items():
            self._apply(namespace, writes, height)
        return VALID

    def _apply(self, namespace: str, writes: dict[str, bytes | None], height: Height) -> None:
        values = self._values.setdefault(namespace, {})
        ordered = self._ordered.setdefault(namespace, [])
        for key, value in writes.items():
            if key.startswith(self._write_once):
                continue
            if value is not None:
                if key not in values:
                    insort(ordered, key)
                values[key] = Stored(value, height)
            elif values.pop(key, None):
                del ordered[bisect_left(ordered, key)]


class Simulation:
    """One transaction's execution at an endorser: it reads the committed state and collects what it would write."""

    def __init__(self, state: WorldState) -> None:
        self._state = state
        self.reads: dict[str, dict[str, Height | None]] = {}
        self.writes: dict[str, dict[str, bytes | None]] = {}
        self.ranges: list[RangeQuery] = []
        self._purged: set[tuple[str, str]] = set()
        self._policies: dict[str, dict[str, bytes]] = {}

    def get(self, namespace: str, key: str) -> bytes | None:
        """A key's committed value, and a read of its version."""
        stored = self._state.get(namespace, key)
        self.reads.setdefault(namespace, {})[key] = stored and stored.height
        return stored and stored.value

    def put(self, namespace: str, key: str, value: bytes | None) -> None:
        """Write a key; None deletes it."""
        self.writes.setdefault(namespace, {})[key] = value

    def purge(self, namespace: str, key: str) -> None:
        """Delete a private key and its history."""
        self.put(namespace, key, None)
        self._purged.add((namespace, key))

    def set_policy(self, namespace: str, key: str, policy: bytes) -> None:
        """Give a key an endorsement policy (a SignaturePolicyEnvelope) of its own."""
        self._policies.setdefault(namespace, {})[key] = policy

    def range(self, namespace: str, start: str, end: str) -> list[str]:
        """The keys of [start, end), and a range query over them."""
        found = self._state.range(namespace, start, end)
        self.ranges.append(RangeQuery(namespace, start, end, found))
        return [key for key, _ in found]

    def results(self) -> bytes:
        """The serialized `TxReadWriteSet`."""
        touched = {*self.reads, *self.writes, *(query.namespace for query in self.ranges)}
        private = sorted(namespace for namespace in touched if "$" in namespace)
        public = sorted({namespace.partition("$")[0] for namespace in touched})
        return TxReadWriteSet(
            ns_rwset=[
                NsReadWriteSet(
                    namespace=namespace,
                    rwset=self._public(namespace),
                    collection_hashed_rwset=[
                        self._private(name) for name in private if name.startswith(f"{namespace}$")
                    ],
                )
                for namespace in public
            ]
        ).SerializeToString()

    def _public(self, namespace: str) -> bytes:
        reads = tuple(sorted(self.reads.get(namespace, {}).items()))
        policies = self._policies.get(namespace, {})
        if not (self.ranges or policies or namespace in self.writes):
            return _only_reads(reads)
        return KVRWSet(
            reads=_reads(reads),
            range_queries_info=[
                _range_query(query) for query in self.ranges if query.namespace == namespace
            ],
            writes=self._writes(namespace),
            metadata_writes=[
                KVMetadataWrite(
                    key=key, entries=[KVMetadataEntry(name="VALIDATION_PARAMETER", value=policy)]
                )
                for key, policy in sorted(policies.items())
            ],
        ).SerializeToString()

    def _private(self, namespace: str) -> CollectionHashedReadWriteSet:
        writes = self.writes.get(namespace, {})
        hashed = HashedRWSet(
            hashed_reads=[
                KVReadHash(key_hash=_hash(key), version=_version(height))
                for key, height in sorted(self.reads.get(namespace, {}).items())
            ],
            hashed_writes=[
                KVWriteHash(
                    key_hash=_hash(key),
                    is_delete=value is None,
                    value_hash=b"" if value is None else sha256(value).digest(),
                    is_purge=(namespace, key) in self._purged,
                )
                for key, value in sorted(writes.items())
            ],
        )
        private_set = KVRWSet(writes=self._writes(namespace)).SerializeToString()
        return CollectionHashedReadWriteSet(
            collection_name=namespace.partition("$")[2],
            hashed_rwset=hashed.SerializeToString(),
            pvt_rwset_hash=sha256(private_set).digest() if writes else b"",
        )

    def _writes(self, namespace: str) -> list[KVWrite]:
        return [
            KVWrite(key=key, is_delete=value is None, value=value or b"")
            for key, value in sorted(self.writes.get(namespace, {}).items())
        ]


@lru_cache(maxsize=64)
def _only_reads(reads: tuple[tuple[str, Height | None], ...]) -> bytes:
    """Kept, because nearly every transaction reads the same of the chaincode's definition."""
    return KVRWSet(reads=_reads(reads)).SerializeToString()


def _reads(reads: Iterable[tuple[str, Height | None]]) -> list[KVRead]:
    return [KVRead(key=key, version=_version(height)) for key, height in reads]


def _range_query(query: RangeQuery) -> RangeQueryInfo:
    info = RangeQueryInfo(start_key=query.start, end_key=query.end, itr_exhausted=True)
    if len(query.found) <= _MERKLE_DEGREE:
        info.raw_reads.CopyFrom(QueryReads(kv_reads=_reads(query.found)))
        return info
    groups = range(0, len(query.found), _MERKLE_DEGREE + 1)
    hashes = [
        _hash(
            QueryReads(
                kv_reads=_reads(query.found[first : first + _MERKLE_DEGREE + 1])
            ).SerializeToString()
        )
        for first in groups
    ]
    info.reads_merkle_hashes.CopyFrom(
        QueryReadsMerkleSummary(max_degree=_MERKLE_DEGREE, max_level=1, max_level_hashes=hashes)
    )
    return info


def _version(height: Height | None) -> Version | None:
    return height and Version(block_num=height.block, tx_num=height.transaction)


def _hash(content: str | bytes) -> bytes:
    return sha256(content.encode() if isinstance(content, str) else content).digest()
