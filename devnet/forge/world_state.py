"""The world state, simulated transactions, and the validation of their reads at commit.

Private data has the namespace `<chaincode>$<collection>`, similar to Fabric's own state database.
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
"""The most results of a range query that Fabric records in full; more results become hashes."""


class KeyVersion(NamedTuple):
    """The block and transaction that last wrote a key."""

    block: int
    transaction: int


class Stored(NamedTuple):
    """The value and version of a key."""

    value: bytes
    version: KeyVersion


class RangeQuery(NamedTuple):
    """A simulated range query over [start, end), with its results."""

    namespace: str
    start: str
    end: str
    results: list[tuple[str, KeyVersion]]


class WorldState:
    """Values and versions of the keys of all namespaces.

    Keys with one of the prefixes `write_once` are not stored, so that an endless chain needs
    bounded memory. The chaincodes never read these keys.
    """

    def __init__(self, *, write_once: tuple[str, ...]) -> None:
        self._write_once = write_once
        self._values: dict[str, dict[str, Stored]] = {}
        self._ordered: dict[str, list[str]] = {}

    def get(self, namespace: str, key: str) -> Stored | None:
        """Return the committed value and version of a key, None if the key does not exist."""
        return self._values.get(namespace, {}).get(key)

    def range(self, namespace: str, start: str, end: str) -> list[tuple[str, KeyVersion]]:
        """Return the sorted keys of [start, end), with their versions."""
        ordered = self._ordered.get(namespace, [])
        values = self._values.get(namespace, {})
        return [
            (key, values[key].version)
            for key in ordered[bisect_left(ordered, start) : bisect_left(ordered, end)]
        ]

    def commit(self, simulation: "Simulation", version: KeyVersion) -> TxValidationCode.ValueType:
        """Apply a simulated transaction as `version`; return its validation code.

        A transaction with an outdated read is not applied.
        """
        for namespace, reads in simulation.reads.items():
            for key, read_version in reads.items():
                stored = self.get(namespace, key)
                if (stored and stored.version) != read_version:
                    return MVCC_READ_CONFLICT
        for query in simulation.ranges:
            if self.range(query.namespace, query.start, query.end) != query.results:
                return PHANTOM_READ_CONFLICT
        for namespace, writes in simulation.writes.items():
            self._apply(namespace, writes, version)
        return VALID

    def _apply(self, namespace: str, writes: dict[str, bytes | None], version: KeyVersion) -> None:
        values = self._values.setdefault(namespace, {})
        ordered = self._ordered.setdefault(namespace, [])
        for key, value in writes.items():
            if key.startswith(self._write_once):
                continue
            if value is not None:
                if key not in values:
                    insort(ordered, key)
                values[key] = Stored(value, version)
            elif values.pop(key, None):
                del ordered[bisect_left(ordered, key)]


class Simulation:
    """One transaction executed at an endorser: it reads committed state and collects writes."""

    def __init__(self, state: WorldState) -> None:
        self._state = state
        self.reads: dict[str, dict[str, KeyVersion | None]] = {}
        self.writes: dict[str, dict[str, bytes | None]] = {}
        self.ranges: list[RangeQuery] = []
        self._purged: set[tuple[str, str]] = set()
        self._policies: dict[str, dict[str, bytes]] = {}

    def get(self, namespace: str, key: str) -> bytes | None:
        """Return the committed value of a key, and record the read of its version."""
        stored = self._state.get(namespace, key)
        self.reads.setdefault(namespace, {})[key] = stored and stored.version
        return stored and stored.value

    def put(self, namespace: str, key: str, value: bytes | None) -> None:
        """Record the write of a key; the value None deletes it."""
        self.writes.setdefault(namespace, {})[key] = value

    def purge(self, namespace: str, key: str) -> None:
        """Record the deletion of a private key and of its history."""
        self.put(namespace, key, None)
        self._purged.add((namespace, key))

    def set_policy(self, namespace: str, key: str, policy: bytes) -> None:
        """Record a key-level endorsement policy (a serialized SignaturePolicyEnvelope)."""
        self._policies.setdefault(namespace, {})[key] = policy

    def range(self, namespace: str, start: str, end: str) -> list[str]:
        """Return the keys of [start, end), and record the range query."""
        results = self._state.range(namespace, start, end)
        self.ranges.append(RangeQuery(namespace, start, end, results))
        return [key for key, _ in results]

    def results(self) -> bytes:
        """Return the serialized `TxReadWriteSet`."""
        namespaces = {*self.reads, *self.writes, *(query.namespace for query in self.ranges)}
        private = sorted(namespace for namespace in namespaces if "$" in namespace)
        public = sorted({namespace.partition("$")[0] for namespace in namespaces})
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
                KVReadHash(key_hash=_hash(key), version=_version(version))
                for key, version in sorted(self.reads.get(namespace, {}).items())
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
def _only_reads(reads: tuple[tuple[str, KeyVersion | None], ...]) -> bytes:
    """Return a read set; cached, because nearly all transactions read the same definition keys."""
    return KVRWSet(reads=_reads(reads)).SerializeToString()


def _reads(reads: Iterable[tuple[str, KeyVersion | None]]) -> list[KVRead]:
    return [KVRead(key=key, version=_version(version)) for key, version in reads]


def _range_query(query: RangeQuery) -> RangeQueryInfo:
    info = RangeQueryInfo(start_key=query.start, end_key=query.end, itr_exhausted=True)
    if len(query.results) <= _MERKLE_DEGREE:
        info.raw_reads.CopyFrom(QueryReads(kv_reads=_reads(query.results)))
        return info
    groups = range(0, len(query.results), _MERKLE_DEGREE + 1)
    hashes = [
        _hash(
            QueryReads(
                kv_reads=_reads(query.results[first : first + _MERKLE_DEGREE + 1])
            ).SerializeToString()
        )
        for first in groups
    ]
    info.reads_merkle_hashes.CopyFrom(
        QueryReadsMerkleSummary(max_degree=_MERKLE_DEGREE, max_level=1, max_level_hashes=hashes)
    )
    return info


def _version(version: KeyVersion | None) -> Version | None:
    return version and Version(block_num=version.block, tx_num=version.transaction)


def _hash(content: str | bytes) -> bytes:
    return sha256(content.encode() if isinstance(content, str) else content).digest()
