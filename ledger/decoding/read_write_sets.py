"""Decodes the read/write sets of a transaction (`rwset.TxReadWriteSet`), one for each namespace."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from ledger.decoding.parsing import DecodingErrors, parse, parse_or_empty
from ledger.model import (
    CollectionHashes,
    HashedRead,
    HashedWrite,
    MerkleSummary,
    MetadataEntry,
    MetadataWrite,
    RangeQuery,
    Read,
    ReadWriteSet,
    Version,
    Write,
)
from protos import kvrwset_pb2 as kvrwset
from protos import rwset_pb2 as rwset

_MAX_CACHED_BYTES = 128
"""The size up to which decoded read/write sets are cached."""


def decode_read_write_sets(
    results: bytes, errors: DecodingErrors, path: str
) -> tuple[ReadWriteSet, ...]:
    """Return the read/write sets in `ChaincodeAction.results`, which are at `path`.

    The parts that cannot be decoded are left out, and their paths are added to `errors`.
    """
    namespaces = parse_or_empty(rwset.TxReadWriteSet, results, errors, path).ns_rwset
    if errors.must_reserve and not errors.reserve(len(namespaces), path):
        return ()
    return tuple([_namespace(ns, errors, path, i) for i, ns in enumerate(namespaces)])


def _namespace(
    ns: rwset.NsReadWriteSet, errors: DecodingErrors, path: str, index: int
) -> ReadWriteSet:
    namespace, data, collections = ns.namespace, ns.rwset, ns.collection_hashed_rwset
    if len(data) <= _MAX_CACHED_BYTES and not collections:
        cached = _decode_cached(namespace, data)
        if cached is not None and (
            not errors.must_reserve
            or errors.reserve(len(cached.reads) + len(cached.writes), path, index, "rwset")
        ):
            return cached
    kv = parse_or_empty(kvrwset.KVRWSet, data, errors, path, index, "rwset")
    if errors.must_reserve and not errors.reserve(_element_count(kv), path, index, "rwset"):
        kv = kvrwset.KVRWSet()
    return _read_write_set(
        namespace,
        kv,
        _collections(collections, errors, f"{path}.{index}") if collections else (),
    )


@lru_cache(1024)
def _decode_cached(namespace: str, data: bytes) -> ReadWriteSet | None:
    """Return a read/write set of reads and writes only, or None if it has other parts.

    Every transaction reads the definition of its chaincode in the namespace `_lifecycle`, so the
    same small sets occur again and again.
    """
    kv = parse(kvrwset.KVRWSet, data, DecodingErrors())
    return (
        _read_write_set(namespace, kv, ())
        if kv is not None and _has_only_reads_and_writes(kv)
        else None
    )


def _has_only_reads_and_writes(kv: kvrwset.KVRWSet) -> bool:
    return not (kv.range_queries_info or kv.metadata_writes)


def _read_write_set(
    namespace: str, kv: kvrwset.KVRWSet, collections: tuple[CollectionHashes, ...]
) -> ReadWriteSet:
    writes, queries, metadata = kv.writes, kv.range_queries_info, kv.metadata_writes
    return ReadWriteSet(
        namespace=namespace,
        reads=_reads(kv.reads),
        writes=tuple([Write(write.key, write.value, write.is_delete) for write in writes])
        if writes
        else (),
        range_queries=tuple([_range_query(query) for query in queries]) if queries else (),
        metadata_writes=tuple([MetadataWrite(w.key, _entries(w.entries)) for w in metadata])
        if metadata
        else (),
        collections=collections,
    )


def _element_count(kv: kvrwset.KVRWSet) -> int:
    count = len(kv.reads) + len(kv.writes)
    for query in kv.range_queries_info:
        count += 1 + len(query.raw_reads.kv_reads) + len(query.reads_merkle_hashes.max_level_hashes)
    for write in kv.metadata_writes:
        count += 1 + len(write.entries)
    return count


def _hashed_element_count(hashed: kvrwset.HashedRWSet) -> int:
    entries = sum(1 + len(write.entries) for write in hashed.metadata_writes)
    return len(hashed.hashed_reads) + len(hashed.hashed_writes) + entries


def _reads(reads: Sequence[kvrwset.KVRead]) -> tuple[Read, ...]:
    return tuple([Read(read.key, _version(read)) for read in reads]) if reads else ()


def _version(read: kvrwset.KVRead | kvrwset.KVReadHash) -> Version | None:
    if not read.HasField("version"):
        return None
    version = read.version
    return Version(version.block_num, version.tx_num)


def _entries(entries: Iterable[kvrwset.KVMetadataEntry]) -> tuple[MetadataEntry, ...]:
    return tuple([MetadataEntry(entry.name, entry.value) for entry in entries])


def _range_query(query: kvrwset.RangeQueryInfo) -> RangeQuery:
    merkle = None
    if query.HasField("reads_merkle_hashes"):
        summary = query.reads_merkle_hashes
        merkle = MerkleSummary(
            summary.max_degree, summary.max_level, tuple(summary.max_level_hashes)
        )
    return RangeQuery(
        start_key=query.start_key,
        end_key=query.end_key,
        exhausted=query.itr_exhausted,
        reads=_reads(query.raw_reads.kv_reads) if query.HasField("raw_reads") else None,
        merkle=merkle,
    )


def _collections(
    collections: Sequence[rwset.CollectionHashedReadWriteSet], errors: DecodingErrors, path: str
) -> tuple[CollectionHashes, ...]:
    path = f"{path}.collections"
    if errors.must_reserve and not errors.reserve(len(collections), path):
        return ()
    return tuple(
        [_collection(collection, errors, path, i) for i, collection in enumerate(collections)]
    )


def _collection(
    collection: rwset.CollectionHashedReadWriteSet, errors: DecodingErrors, path: str, index: int
) -> CollectionHashes:
    hashed = parse_or_empty(kvrwset.HashedRWSet, collection.hashed_rwset, errors, path, index)
    if errors.must_reserve and not errors.reserve(_hashed_element_count(hashed), path, index):
        hashed = kvrwset.HashedRWSet()
    return CollectionHashes(
        collection=collection.collection_name,
        reads=tuple([HashedRead(read.key_hash, _version(read)) for read in hashed.hashed_reads]),
        writes=tuple(
            [
                HashedWrite(w.key_hash, w.value_hash, w.is_delete, w.is_purge)
                for w in hashed.hashed_writes
            ]
        ),
        metadata_writes=tuple(
            [MetadataWrite(w.key_hash, _entries(w.entries)) for w in hashed.metadata_writes]
        ),
        private_rwset_hash=collection.pvt_rwset_hash,
    )
