"""The stored form of read/write sets: the reads and writes of a transaction in one namespace."""

from collections.abc import Sequence

from ledger.documents.format import Document
from ledger.documents.payloads import int_value, text_or_binary
from ledger.model import CollectionHashes, MetadataWrite, RangeQuery, Read, ReadWriteSet, Version


def read_write_set_document(rwset: ReadWriteSet) -> Document:
    """Return the stored form of the reads and writes of one namespace."""
    document: Document = {
        "namespace": rwset.namespace,
        "reads": _reads(rwset.reads),
        "writes": [
            {"key": w.key, "isDelete": True}
            if w.is_delete and not w.value
            else _write(w.key, w.value, w.is_delete)
            for w in rwset.writes
        ],
    }
    if rwset.range_queries:
        document["rangeQueries"] = [_range_query(query) for query in rwset.range_queries]
    if rwset.metadata_writes:
        document["metadataWrites"] = [_metadata_write(write) for write in rwset.metadata_writes]
    if rwset.collections:
        document["collections"] = [_collection(collection) for collection in rwset.collections]
    return document


def _write(key: str, value: bytes, is_delete: bool) -> Document:  # noqa: FBT001
    return {"key": key, "value": text_or_binary(value), "isDelete": is_delete}


def _reads(reads: Sequence[Read]) -> list[Document]:
    return [{"key": read.key, "version": _version(read.version)} for read in reads]


def _version(version: Version | None) -> Document | None:
    if version is None:
        return None
    return {"block": int_value(version.block), "tx": int_value(version.transaction)}


def _range_query(query: RangeQuery) -> Document:
    document: Document = {
        "startKey": query.start_key,
        "endKey": query.end_key,
        "exhausted": query.exhausted,
    }
    if query.reads is not None:
        document["reads"] = _reads(query.reads)
    if query.merkle is not None:
        document["merkle"] = {
            "maxDegree": query.merkle.max_degree,
            "maxLevel": query.merkle.max_level,
            "hashes": [digest.hex() for digest in query.merkle.hashes],
        }
    return document


def _metadata_write(write: MetadataWrite) -> Document:
    return {
        "key": write.key if isinstance(write.key, str) else write.key.hex(),
        "entries": [{"name": entry.name, "value": entry.value} for entry in write.entries],
    }


def _collection(collection: CollectionHashes) -> Document:
    document: Document = {
        "collection": collection.collection,
        "reads": [
            {"keyHash": read.key_hash.hex(), "version": _version(read.version)}
            for read in collection.reads
        ],
        "writes": [
            {
                "keyHash": write.key_hash.hex(),
                "valueHash": write.value_hash.hex() or None,
                "isDelete": write.is_delete,
                "isPurge": write.is_purge,
            }
            for write in collection.writes
        ],
        "hash": collection.private_rwset_hash.hex() or None,
    }
    if collection.metadata_writes:
        document["metadataWrites"] = [
            _metadata_write(write) for write in collection.metadata_writes
        ]
    return document
