"""Decodes `rwset.TxReadWriteSet`: what a transaction read and wrote, namespace by namespace."""

from collections.abc import Iterable

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
from ledger.wire import Errors, parse
from protos import kvrwset_pb2 as kvrwset
from protos import rwset_pb2 as rwset


def read_rwsets(results: bytes, path: str, errors: Errors) -> tuple[ReadWriteSet, ...]:
    """The read/write sets in `ChaincodeAction.results`. What does not parse is named in `errors` and left out."""
    message = parse(rwset.TxReadWriteSet, results, path, errors)
    if message is None:
        return ()
    return tuple([_namespace(ns, f"{path}.{i}", errors) for i, ns in enumerate(message.ns_rwset)])


def _namespace(ns: rwset.NsReadWriteSet, path: str, errors: Errors) -> ReadWriteSet:
    kv = parse(kvrwset.KVRWSet, ns.rwset, f"{path}.rwset", errors) or kvrwset.KVRWSet()
    collections = ns.collection_hashed_rwset
    return ReadWriteSet(
        namespace=ns.namespace,
        reads=_reads(kv.reads),
        writes=tuple([Write(write.key, write.value, write.is_delete) for write in kv.writes]),
        range_queries=tuple([_range_query(query) for query in kv.range_queries_info]),
        metadata_writes=tuple([MetadataWrite(w.key, _entries(w.entries)) for w in kv.metadata_writes]),
        collections=tuple([_collection(c, f"{path}.collections.{i}", errors) for i, c in enumerate(collections)])
        if collections
        else (),
    )


def _reads(reads: Iterable[kvrwset.KVRead]) -> tuple[Read, ...]:
    return tuple([Read(read.key, _version(read)) for read in reads])


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
        merkle = MerkleSummary(summary.max_degree, summary.max_level, tuple(summary.max_level_hashes))
    return RangeQuery(
        start_key=query.start_key,
        end_key=query.end_key,
        exhausted=query.itr_exhausted,
        reads=_reads(query.raw_reads.kv_reads) if query.HasField("raw_reads") else None,
        merkle=merkle,
    )


def _collection(collection: rwset.CollectionHashedReadWriteSet, path: str, errors: Errors) -> CollectionHashes:
    hashed = parse(kvrwset.HashedRWSet, collection.hashed_rwset, path, errors) or kvrwset.HashedRWSet()
    return CollectionHashes(
        collection=collection.collection_name,
        reads=tuple([HashedRead(read.key_hash, _version(read)) for read in hashed.hashed_reads]),
        writes=tuple([HashedWrite(w.key_hash, w.value_hash, w.is_delete, w.is_purge) for w in hashed.hashed_writes]),
        metadata_writes=tuple([MetadataWrite(w.key_hash, _entries(w.entries)) for w in hashed.metadata_writes]),
        private_rwset_hash=collection.pvt_rwset_hash,
    )
