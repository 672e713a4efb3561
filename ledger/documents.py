"""Turns a decoded block into the documents that MongoDB keeps: a pure function of the chain.

Names and shapes are those that other applications query; `docs/data-model.md` describes each field.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from msgspec import Struct

from ledger.model import (
    VALID,
    Action,
    Block,
    ChannelConfig,
    CollectionHashes,
    Identity,
    MetadataWrite,
    RangeQuery,
    Read,
    ReadWriteSet,
    Signer,
    Timestamp,
    Transaction,
    Version,
)
from ledger.payloads import int_value, payload_fields, text_or_binary
from protos import common_pb2 as common
from protos import transaction_pb2 as transaction_pb

Document = dict[str, Any]

FORMAT: Final = 2
"""Version of these shapes, in every document. It rises when the same chain would give other documents."""

MANY_WRITES: Final = 20_000
"""A transaction with more is marked: MongoDB must hold the index entries of a document in its cache all at once."""

_STATUS: dict[int, str] = {number: name for name, number in transaction_pb.TxValidationCode.items()}
STATUS_NAMES: Final = tuple(_STATUS.values())
"""The names of validation codes; a code without one is its number as text."""
_TYPE: dict[int, str] = {number: name for name, number in common.HeaderType.items()}
_MIN_SECONDS, _MAX_SECONDS = -62135596800, 253402300799  # years 1 to 9999, as protobuf's Timestamp allows


def position(number: int, index: int) -> Int64:
    """Where an envelope stands on the chain, as one number: block * 2^20 + index."""
    return Int64(number << 20 | index)


def stored_tx_id(tx_id: str, place: Int64, *, owns: bool) -> str | Int64:
    """What stands in `txId`: the id where the envelope owns it, else its position, which no id can equal."""
    return tx_id if owns else place


def status_name(code: int) -> str:
    """The name of a validation code, else the number as text."""
    return _STATUS.get(code) or str(code)


class BlockSums:
    """What a block document says of its transactions, added up one by one."""

    def __init__(self) -> None:
        self._types: Counter[str | None] = Counter()
        self._chaincodes: Counter[str | None] = Counter()
        self._organisations: Counter[str | None] = Counter()
        self._times: list[int] = []

    def add(self, transaction: Transaction) -> None:
        """Counts a transaction in."""
        self._types[_type(transaction.type)] += 1
        self._chaincodes[transaction.chaincode_id] += 1
        self._organisations[transaction.creator.msp_id if transaction.creator is not None else None] += 1
        ms = milliseconds(transaction.timestamp)
        if ms is not None:
            self._times.append(ms)

    def ts(self) -> DatetimeMS | None:
        """The lower median of the clients' times: one absurd clock cannot move it far."""
        return DatetimeMS(sorted(self._times)[(len(self._times) - 1) // 2]) if self._times else None

    def fields(self, codes: bytes) -> Document:
        """The lists of names and counts."""
        by_code = Counter(codes)
        return {
            "statuses": [{"name": status_name(code), "count": by_code[code]} for code in sorted(by_code)],
            "types": _counts(self._types),
            "chaincodes": _counts(self._chaincodes),
            "organisations": _counts(self._organisations),
        }


def _counts(counts: Counter[str | None]) -> list[Document]:
    known = sorted(name for name in counts if name is not None)
    return [{"name": name, "count": counts[name]} for name in (*known, *([None] if None in counts else []))]


def block_document(block: Block, sums: BlockSums, event_count: int) -> Document:
    """The document of a block whose transactions `sums` has added up."""
    return {
        "_id": block.number,
        "number": block.number,
        "blockHash": block.hash.hex(),
        "previousHash": block.previous_hash.hex(),
        "dataHash": block.data_hash.hex(),
        "commitHash": block.commit_hash.hex() or None,
        "transactionCount": len(block.codes),
        "validCount": block.codes.count(VALID),
        "eventCount": event_count,
        "ts": sums.ts(),
        "size": block.size,
        "validationCodes": block.codes,
        "lastConfig": int_value(block.last_config) if block.last_config is not None else None,
        "signers": [_signer(signer) for signer in block.signers],
        "sums": sums.fields(block.codes),
        "format": FORMAT,
    }


def milliseconds(timestamp: Timestamp | None) -> int | None:
    """Milliseconds since 1970, rounded down; None for no time, or one outside the years 1 to 9999."""
    if timestamp is None or not _MIN_SECONDS <= timestamp.seconds <= _MAX_SECONDS:
        return None
    if not 0 <= timestamp.nanos < 1_000_000_000:
        return None
    return timestamp.seconds * 1000 + timestamp.nanos // 1_000_000


def _type(number: int | None) -> str | None:
    return None if number is None else _TYPE.get(number) or str(number)


def _signer(signer: Signer) -> Document:
    if signer.identity is None:
        return {"consenterId": signer.consenter_id}
    return _identity(signer.identity)


def _identity(identity: Identity) -> Document:
    document = {"mspId": identity.msp_id, "subject": identity.subject, "fingerprint": identity.fingerprint}
    if identity.kind != "x509":
        document["kind"] = identity.kind
        document["digest"] = identity.digest
    return document


def transaction_document(transaction: Transaction, number: int, place: Int64, tx_id: str | Int64) -> Document:
    """The document of the envelope at `place`, in block `number`; `tx_id` as `stored_tx_id` gives it."""
    ms = milliseconds(transaction.timestamp)
    timestamp = transaction.timestamp
    document: Document = {
        "_id": place,
        "txId": tx_id,
        "status": status_name(transaction.code),
        "validationCode": transaction.code,
        "chaincodeId": transaction.chaincode_id,
        "blockNumber": number,
        "txIndex": transaction.index,
        "type": _type(transaction.type),
        "ts": DatetimeMS(ms) if ms is not None else None,
        "timestamp": {"seconds": timestamp.seconds, "nanos": timestamp.nanos} if timestamp is not None else None,
        "creator": _identity(transaction.creator) if transaction.creator is not None else None,
    }
    if tx_id is place:
        document["claimedTxId"] = transaction.tx_id
    if transaction.actions:
        first, *further = transaction.actions
        document |= _action(first)
        if sum(len(rwset.writes) for rwset in first.rwsets) > MANY_WRITES:
            document["manyWrites"] = True
        if first.event is not None and transaction.code != VALID:
            document["event"] = _event_fields(first)
        if further:
            document["furtherActions"] = [_further_action(action) for action in further]
    if transaction.lifecycle is not None:
        document["lifecycle"] = _builtins(transaction.lifecycle)
    if transaction.config is not None:
        document["config"] = _config(transaction.config)
    if transaction.errors:
        document["errors"] = list(transaction.errors)
    document["envelopeHash"] = transaction.envelope_hash.hex()
    document["envelopeSize"] = transaction.envelope_size
    document["format"] = FORMAT
    return document


def _further_action(action: Action) -> Document:
    document = {"chaincodeId": action.chaincode.name if action.chaincode is not None else None, **_action(action)}
    if action.event is not None:
        document["event"] = _event_fields(action)
    return document


def _config(config: ChannelConfig) -> Document:
    document = _builtins(config)
    document["sequence"] = int_value(config.sequence)
    return document


def _builtins(struct: Struct) -> Document:
    """By way of JSON, so that tuples become lists, of which `ledger.limits` knows."""
    document: Document = msgspec.json.decode(msgspec.json.encode(struct))
    return document


def _action(action: Action) -> Document:
    arguments = [text_or_binary(argument) for argument in action.args]
    document: Document = {
        "chaincodeVersion": action.chaincode.version if action.chaincode is not None else None,
        "endorsers": [_identity(endorser) if endorser is not None else None for endorser in action.endorsers],
        "function": arguments[0] if arguments else None,
        "args": arguments[1:],
        "response": None,
        "rwsets": [_rwset(rwset) for rwset in action.rwsets],
    }
    if action.is_init:
        document["isInit"] = True
    response = action.response
    if response is not None:
        document["response"] = {
            "status": response.status,
            "message": response.message,
            "payload": text_or_binary(response.payload),
        }
    return document


def _rwset(rwset: ReadWriteSet) -> Document:
    document: Document = {
        "namespace": rwset.namespace,
        "reads": _reads(rwset.reads),
        "writes": [
            {"key": w.key, "isDelete": True} if w.is_delete and not w.value else _write(w.key, w.value, w.is_delete)
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
    document: Document = {"startKey": query.start_key, "endKey": query.end_key, "exhausted": query.exhausted}
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
        "reads": [{"keyHash": read.key_hash.hex(), "version": _version(read.version)} for read in collection.reads],
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
        document["metadataWrites"] = [_metadata_write(write) for write in collection.metadata_writes]
    return document


def _event_fields(action: Action) -> Document:
    event = action.event
    assert event is not None  # noqa: S101 - callers ask first
    return {
        "chaincodeId": event.chaincode_id,
        "eventName": event.name,
        **payload_fields(event.payload),
    }


def event_document(
    transaction: Transaction, number: int, place: Int64, tx_id: str | Int64, ts: DatetimeMS | None
) -> Document | None:
    """The document of its event; None without one: Fabric's clients deliver events of VALID transactions only."""
    if transaction.code != VALID or not transaction.actions or transaction.actions[0].event is None:
        return None
    return {
        "_id": place,
        "txId": tx_id,
        **_event_fields(transaction.actions[0]),
        "blockNumber": number,
        "txIndex": transaction.index,
        "ts": ts,
        "format": FORMAT,
    }
