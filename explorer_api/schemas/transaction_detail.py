"""A whole transaction as the API shows it."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from explorer_api.schemas.rows import Identity, TransactionRow, identity, transaction_fields
from explorer_api.schemas.values import (
    Encoding,
    Omitted,
    Text,
    Value,
    integer,
    listed,
    optional_text,
    payload,
    text,
    value,
)
from ledger.documents.format import Document
from reconciliation.reports import BusinessRows

MAX_REPEATS = 100
"""Of the envelopes that repeat an id, so many are shown."""


class ClaimedTime(Struct, frozen=True):
    """What the client signed, whatever it is: seconds and nanoseconds since 1970."""

    seconds: int
    nanos: int


class Response(Struct, frozen=True):
    """What the chaincode answered."""

    status: int
    message: Text
    payload: Text | None
    encoding: Encoding | None


class ActionEvent(Struct, frozen=True):
    """The event that a chaincode set, also that of a transaction which is not VALID."""

    chaincode: Text
    name: Text
    payload: Any
    encoding: Encoding


class Version(Struct, frozen=True):
    """The place on the chain of the transaction that wrote a key."""

    block: int
    tx: int


class Read(Struct, frozen=True):
    """A key that was read; `version` is null if it did not exist."""

    key: Text
    version: Version | None


class Write(Struct, frozen=True, rename="camel"):
    """A key that was written, or deleted."""

    key: Text
    value: Text | None
    encoding: Encoding | None
    is_delete: bool


class MerkleSummary(Struct, frozen=True, rename="camel"):
    """The results of a large range query, as a Merkle tree's top."""

    max_degree: int
    max_level: int
    hashes: list[str] | Omitted


class RangeQuery(Struct, frozen=True, rename="camel"):
    """A range that was read: its results, or their summary, or neither."""

    start_key: Text
    end_key: Text
    exhausted: bool
    reads: list[Read] | Omitted | None
    merkle: MerkleSummary | None


class MetadataEntry(Struct, frozen=True):
    """One metadata entry of a key."""

    name: Text
    value: Text | None
    encoding: Encoding | None


class MetadataWrite(Struct, frozen=True):
    """New metadata of a key; of a private key, by its hash."""

    key: Text
    entries: list[MetadataEntry] | Omitted


class HashedRead(Struct, frozen=True, rename="camel"):
    """A private key that was read."""

    key_hash: str
    version: Version | None


class HashedWrite(Struct, frozen=True, rename="camel"):
    """A private key that was written, deleted, or purged with its history."""

    key_hash: str
    value_hash: str | None
    is_delete: bool
    is_purge: bool


class CollectionHashes(Struct, frozen=True, rename="camel"):
    """What the ledger holds of the private data of one collection; `hash` is that of the private read/write set."""

    collection: Text
    reads: list[HashedRead] | Omitted
    writes: list[HashedWrite] | Omitted
    metadata_writes: list[MetadataWrite] | Omitted
    hash: str | None


class ReadWriteSet(Struct, frozen=True, rename="camel"):
    """Reads and writes of one namespace (a chaincode's name)."""

    namespace: Text
    reads: list[Read] | Omitted
    writes: list[Write] | Omitted
    range_queries: list[RangeQuery] | Omitted
    metadata_writes: list[MetadataWrite] | Omitted
    collections: list[CollectionHashes] | Omitted


class Action(Struct, frozen=True, rename="camel"):
    """A further action of an endorser transaction."""

    chaincode: Text | None
    chaincode_version: Text | None
    function: Text | None
    function_encoding: Encoding | None
    args: list[Value] | Omitted
    is_init: bool
    endorsers: list[Identity | None] | Omitted
    response: Response | None
    rwsets: list[ReadWriteSet] | Omitted
    event: ActionEvent | None


class Repeat(Struct, frozen=True, rename="camel"):
    """Another envelope with the id of a transaction: submitted again, or forged."""

    block: int
    tx_index: int
    status: str
    validation_code: int


class TransactionDetail(TransactionRow, frozen=True, rename="camel"):
    """A whole transaction. What belongs to an action is that of its first one; Fabric knows no more than one.

    `timestamp` is what the client signed, `ts` the same where it is a time; `lifecycle` the chaincode definition that
    was approved or committed; `config` the channel configuration of a CONFIG envelope; `errors` names the parts that
    could not be decoded; `repeats` the first hundred envelopes that claim the same id. `business` is what the business
    database says of it, null where that is not asked or, as the flag tells, does not answer.
    """

    timestamp: ClaimedTime | None
    creator: Identity | None
    chaincode_version: Text | None
    args: list[Value] | Omitted
    is_init: bool
    endorsers: list[Identity | None] | Omitted
    response: Response | None
    rwsets: list[ReadWriteSet] | Omitted
    event: ActionEvent | None
    further_actions: list[Action] | Omitted
    lifecycle: dict[str, Any] | None
    config: dict[str, Any] | None
    errors: list[Text] | Omitted
    repeats: list[Repeat] | None
    business: BusinessRows | None
    business_unavailable: bool
    envelope_hash: str
    envelope_size: int


def transaction_detail(
    document: Document,
    event: Document | None,
    repeats: Sequence[Document] | None,
    business: BusinessRows | None = None,
    *,
    business_unavailable: bool = False,
) -> TransactionDetail:
    """A transaction document, of a VALID one its event document, the documents that repeat its id, and its rows."""
    timestamp = document["timestamp"]
    creator = document["creator"]
    action = _action_fields(document, event if event is not None else document.get("event"))
    return TransactionDetail(
        **transaction_fields(document) | action,
        timestamp=ClaimedTime(timestamp["seconds"], timestamp["nanos"])
        if timestamp is not None
        else None,
        creator=identity(creator) if creator is not None else None,
        further_actions=listed(document.get("furtherActions"), _action),
        lifecycle=document.get("lifecycle"),
        config=_config(document.get("config")),
        errors=listed(document.get("errors"), text),
        repeats=[
            Repeat(
                repeat["blockNumber"], repeat["txIndex"], repeat["status"], repeat["validationCode"]
            )
            for repeat in repeats
        ]
        if repeats is not None
        else None,
        business=business,
        business_unavailable=business_unavailable,
        envelope_hash=document["envelopeHash"],
        envelope_size=document["envelopeSize"],
    )


def _config(stored: Document | None) -> Document | None:
    return None if stored is None else {**stored, "sequence": integer(stored["sequence"])}


def _action(stored: Document) -> Action:
    return Action(**_action_fields(stored, stored.get("event")))


def _action_fields(stored: Document, event: Document | None) -> dict[str, Any]:
    function = value(stored.get("function"))
    response = stored.get("response")
    return {
        "chaincode": optional_text(stored.get("chaincodeId")),
        "chaincode_version": optional_text(stored.get("chaincodeVersion")),
        "function": function.value,
        "function_encoding": function.encoding,
        "args": listed(stored.get("args"), value),
        "is_init": stored.get("isInit", False),
        "endorsers": listed(
            stored.get("endorsers"), lambda e: identity(e) if e is not None else None
        ),
        "response": _response(response) if response is not None else None,
        "rwsets": listed(stored.get("rwsets"), _rwset),
        "event": _event(event) if event is not None else None,
    }


def _response(stored: Document) -> Response:
    answered = value(stored["payload"])
    return Response(stored["status"], text(stored["message"]), answered.value, answered.encoding)


def _event(stored: Document) -> ActionEvent:
    return ActionEvent(text(stored["chaincodeId"]), text(stored["eventName"]), *payload(stored))


def _rwset(stored: Document) -> ReadWriteSet:
    return ReadWriteSet(
        namespace=text(stored["namespace"]),
        reads=listed(stored["reads"], _read),
        writes=listed(stored["writes"], _write),
        range_queries=listed(stored.get("rangeQueries"), _range_query),
        metadata_writes=listed(stored.get("metadataWrites"), _metadata_write),
        collections=listed(stored.get("collections"), _collection),
    )


def _version(stored: Document | None) -> Version | None:
    return Version(integer(stored["block"]), integer(stored["tx"])) if stored is not None else None


def _read(stored: Document) -> Read:
    return Read(text(stored["key"]), _version(stored["version"]))


def _write(stored: Document) -> Write:
    written = value(stored.get("value"))
    return Write(text(stored["key"]), written.value, written.encoding, stored["isDelete"])


def _range_query(stored: Document) -> RangeQuery:
    merkle = stored.get("merkle")
    return RangeQuery(
        start_key=text(stored["startKey"]),
        end_key=text(stored["endKey"]),
        exhausted=stored["exhausted"],
        reads=listed(stored["reads"], _read) if "reads" in stored else None,
        merkle=MerkleSummary(merkle["maxDegree"], merkle["maxLevel"], listed(merkle["hashes"], str))
        if merkle is not None
        else None,
    )


def _metadata_write(stored: Document) -> MetadataWrite:
    return MetadataWrite(text(stored["key"]), listed(stored["entries"], _metadata_entry))


def _metadata_entry(stored: Document) -> MetadataEntry:
    entry = value(stored["value"])
    return MetadataEntry(text(stored["name"]), entry.value, entry.encoding)


def _collection(stored: Document) -> CollectionHashes:
    return CollectionHashes(
        collection=text(stored["collection"]),
        reads=listed(
            stored["reads"], lambda read: HashedRead(read["keyHash"], _version(read["version"]))
        ),
        writes=listed(stored["writes"], _hashed_write),
        metadata_writes=listed(stored.get("metadataWrites"), _metadata_write),
        hash=stored["hash"],
    )


def _hashed_write(stored: Document) -> HashedWrite:
    return HashedWrite(
        stored["keyHash"], stored["valueHash"], stored["isDelete"], stored["isPurge"]
    )
