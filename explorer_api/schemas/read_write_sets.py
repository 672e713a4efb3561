"""Read/write sets: what a transaction read and wrote."""

from msgspec import Struct

from explorer_api.schemas.stored_values import (
    Encoding,
    Omitted,
    Text,
    read_integer,
    read_list,
    read_text,
    read_value,
)
from ledger.documents.format import Document


class Version(Struct, frozen=True):
    """The version of a key: the block and the index of the transaction that wrote it."""

    block: int
    tx: int


class Read(Struct, frozen=True):
    """A key that was read; `version` is null if the key did not exist."""

    key: Text
    version: Version | None


class Write(Struct, frozen=True, rename="camel"):
    """A key that was written or deleted."""

    key: Text
    value: Text | None
    encoding: Encoding | None
    is_delete: bool


class MerkleSummary(Struct, frozen=True, rename="camel"):
    """The hashes at the top of a Merkle tree that summarises the results of a large range query."""

    max_degree: int
    max_level: int
    hashes: list[str] | Omitted


class RangeQuery(Struct, frozen=True, rename="camel"):
    """A range of keys that was read.

    `reads` has the results, or `merkle` has their summary, or both are null.
    """

    start_key: Text
    end_key: Text
    exhausted: bool
    reads: list[Read] | Omitted | None
    merkle: MerkleSummary | None


class MetadataEntry(Struct, frozen=True):
    """A metadata entry of a key."""

    name: Text
    value: Text | None
    encoding: Encoding | None


class MetadataWrite(Struct, frozen=True):
    """New metadata of a key; for a private key, `key` is the hash of the key."""

    key: Text
    entries: list[MetadataEntry] | Omitted


class HashedRead(Struct, frozen=True, rename="camel"):
    """A private key that was read; `version` is null if the key did not exist."""

    key_hash: str
    version: Version | None


class HashedWrite(Struct, frozen=True, rename="camel"):
    """A private key that was written, deleted, or purged together with its history."""

    key_hash: str
    value_hash: str | None
    is_delete: bool
    is_purge: bool


class CollectionHashes(Struct, frozen=True, rename="camel"):
    """The hashes that the ledger holds of a transaction's private data in one collection.

    `hash` is the hash of the private read/write set.
    """

    collection: Text
    reads: list[HashedRead] | Omitted
    writes: list[HashedWrite] | Omitted
    metadata_writes: list[MetadataWrite] | Omitted
    hash: str | None


class ReadWriteSet(Struct, frozen=True, rename="camel"):
    """The reads and writes of a transaction in one namespace, which is the name of a chaincode."""

    namespace: Text
    reads: list[Read] | Omitted
    writes: list[Write] | Omitted
    range_queries: list[RangeQuery] | Omitted
    metadata_writes: list[MetadataWrite] | Omitted
    collections: list[CollectionHashes] | Omitted


def read_read_write_set(stored: Document) -> ReadWriteSet:
    """Return a stored read/write set."""
    return ReadWriteSet(
        namespace=read_text(stored["namespace"]),
        reads=read_list(stored["reads"], _read_read),
        writes=read_list(stored["writes"], _read_write),
        range_queries=read_list(stored.get("rangeQueries"), _read_range_query),
        metadata_writes=read_list(stored.get("metadataWrites"), _read_metadata_write),
        collections=read_list(stored.get("collections"), _read_collection),
    )


def _read_version(stored: Document | None) -> Version | None:
    if stored is None:
        return None
    return Version(read_integer(stored["block"]), read_integer(stored["tx"]))


def _read_read(stored: Document) -> Read:
    return Read(read_text(stored["key"]), _read_version(stored["version"]))


def _read_write(stored: Document) -> Write:
    value = read_value(stored.get("value"))
    return Write(read_text(stored["key"]), value.value, value.encoding, stored["isDelete"])


def _read_range_query(stored: Document) -> RangeQuery:
    merkle = stored.get("merkle")
    return RangeQuery(
        start_key=read_text(stored["startKey"]),
        end_key=read_text(stored["endKey"]),
        exhausted=stored["exhausted"],
        reads=read_list(stored["reads"], _read_read) if "reads" in stored else None,
        merkle=_read_merkle_summary(merkle) if merkle is not None else None,
    )


def _read_merkle_summary(stored: Document) -> MerkleSummary:
    return MerkleSummary(stored["maxDegree"], stored["maxLevel"], read_list(stored["hashes"], str))


def _read_metadata_write(stored: Document) -> MetadataWrite:
    return MetadataWrite(
        read_text(stored["key"]), read_list(stored["entries"], _read_metadata_entry)
    )


def _read_metadata_entry(stored: Document) -> MetadataEntry:
    value = read_value(stored["value"])
    return MetadataEntry(read_text(stored["name"]), value.value, value.encoding)


def _read_collection(stored: Document) -> CollectionHashes:
    return CollectionHashes(
        collection=read_text(stored["collection"]),
        reads=read_list(stored["reads"], _read_hashed_read),
        writes=read_list(stored["writes"], _read_hashed_write),
        metadata_writes=read_list(stored.get("metadataWrites"), _read_metadata_write),
        hash=stored["hash"],
    )


def _read_hashed_read(stored: Document) -> HashedRead:
    return HashedRead(stored["keyHash"], _read_version(stored["version"]))


def _read_hashed_write(stored: Document) -> HashedWrite:
    return HashedWrite(
        stored["keyHash"], stored["valueHash"], stored["isDelete"], stored["isPurge"]
    )
