"""Makes the decoded model from documents, to find facts that the documents have lost.

Two facts of an envelope are not stored: the channel that it claims, because a database holds one
channel, and the transaction id inside its event, because only the channel header's id is valid.
`without_unstored_facts` removes them from a decoded transaction.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from ledger.documents.payloads import payload_bytes
from ledger.model import (
    VALID,
    Action,
    Block,
    Chaincode,
    ChaincodeEvent,
    ChannelConfig,
    ClaimedIds,
    CollectionHashes,
    HashedRead,
    HashedWrite,
    Identity,
    Lifecycle,
    MerkleSummary,
    MetadataEntry,
    MetadataWrite,
    RangeQuery,
    Read,
    ReadWriteSet,
    Response,
    Signer,
    Timestamp,
    Transaction,
    Version,
    Write,
)
from protos.common_pb2 import HeaderType

Document = Mapping[str, Any]


def without_unstored_facts(transaction: Transaction) -> Transaction:
    """Return the transaction without the facts that documents do not contain."""
    actions = [
        replace(action, event=replace(action.event, tx_id=""))
        if action.event is not None
        else action
        for action in transaction.actions
    ]
    if actions and actions[0].chaincode is not None:
        # If the first action's ChaincodeID has no name, the name is in the header's extension.
        chaincode = replace(actions[0].chaincode, name=transaction.chaincode_id or "")
        actions[0] = replace(actions[0], chaincode=chaincode)
    return replace(transaction, channel_id=None, actions=tuple(actions))


def transaction_of(document: Document, event: Document | None) -> Transaction:
    """Return the transaction with this document; `event` is the document of its event."""
    first = _action(
        document, event if document["validationCode"] == VALID else document.get("event")
    )
    has_actions = "rwsets" in document
    further_actions = [
        _action(action, action.get("event")) for action in document.get("furtherActions", ())
    ]
    timestamp = document["timestamp"]
    return Transaction(
        index=document["txIndex"],
        code=document["validationCode"],
        envelope_hash=bytes.fromhex(document["envelopeHash"]),
        envelope_size=document["envelopeSize"],
        type=_type(document["type"]),
        channel_id=None,
        tx_id=document.get("claimedTxId", document["txId"]),
        timestamp=Timestamp(timestamp["seconds"], timestamp["nanos"])
        if timestamp is not None
        else None,
        creator=_identity(document["creator"]),
        chaincode_id=document["chaincodeId"],
        actions=(first, *further_actions) if has_actions else (),
        config=msgspec.convert(_plain(document["config"]), ChannelConfig)
        if "config" in document
        else None,
        lifecycle=msgspec.convert(_plain(document["lifecycle"]), Lifecycle)
        if "lifecycle" in document
        else None,
        errors=tuple(document.get("errors", ())),
    )


def block_of(document: Document, transactions: Sequence[Transaction]) -> Block:
    """Return the block with this document and these transactions."""
    last_config = document["lastConfig"]
    return Block(
        number=document["_id"],
        hash=bytes.fromhex(document["blockHash"]),
        previous_hash=bytes.fromhex(document["previousHash"]),
        data_hash=bytes.fromhex(document["dataHash"]),
        commit_hash=bytes.fromhex(document["commitHash"] or ""),
        codes=document["validationCodes"],
        last_config=_integer(last_config) if last_config is not None else None,
        signers=tuple(
            Signer(None, signer["consenterId"])
            if "consenterId" in signer
            else Signer(_identity(signer), None)
            for signer in document["signers"]
        ),
        size=document["size"],
        claims=tuple(
            ClaimedIds(transaction.tx_id, transaction.channel_id) for transaction in transactions
        ),
        transactions=transactions,
    )


def milliseconds_of(document: Document) -> int | None:
    """Return the `ts` of a document in milliseconds since 1970."""
    ts = document["ts"]
    if ts is None:
        return None
    assert isinstance(ts, datetime)
    since = ts - datetime(1970, 1, 1)  # noqa: DTZ001 - pymongo gives UTC without a zone
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def _type(name: str | None) -> int | None:
    if name is None:
        return None
    known = name in HeaderType.keys()  # noqa: SIM118 - not a mapping
    return HeaderType.Value(name) if known else int(name)


def _identity(document: Document | None) -> Identity | None:
    if document is None:
        return None
    kind: Literal["x509", "idemix", "unknown"] = document.get("kind", "x509")
    return Identity(
        document["mspId"],
        kind,
        document["subject"],
        document["fingerprint"],
        document.get("digest"),
    )


def _action(document: Document, event: Document | None) -> Action:
    version, response = document.get("chaincodeVersion"), document.get("response")
    function = document.get("function")
    args = (*((function,) if function is not None else ()), *document.get("args", ()))
    return Action(
        chaincode=Chaincode(document["chaincodeId"] or "", version)
        if version is not None
        else None,
        args=tuple(map(_bytes, args)),
        is_init=document.get("isInit", False),
        endorsers=tuple(map(_identity, document.get("endorsers", ()))),
        response=Response(response["status"], response["message"], _bytes(response["payload"]))
        if response
        else None,
        rwsets=tuple(map(_rwset, document.get("rwsets", ()))),
        event=ChaincodeEvent(event["chaincodeId"], "", event["eventName"], exact_payload(event))
        if event
        else None,
    )


def exact_payload(event: Document) -> bytes:
    """Return the payload of an event, which must not be omitted."""
    payload = payload_bytes(dict(event))
    assert payload is not None
    return payload


def _rwset(document: Document) -> ReadWriteSet:
    return ReadWriteSet(
        namespace=document["namespace"],
        reads=_reads(document["reads"]),
        writes=tuple(
            Write(w["key"], _bytes(w.get("value", b"")), w["isDelete"]) for w in document["writes"]
        ),
        range_queries=tuple(map(_range_query, document.get("rangeQueries", ()))),
        metadata_writes=tuple(
            MetadataWrite(write["key"], _entries(write))
            for write in document.get("metadataWrites", ())
        ),
        collections=tuple(map(_collection, document.get("collections", ()))),
    )


def _reads(reads: list[Document]) -> tuple[Read, ...]:
    return tuple(Read(read["key"], _version(read["version"])) for read in reads)


def _version(document: Document | None) -> Version | None:
    return (
        Version(_integer(document["block"]), _integer(document["tx"]))
        if document is not None
        else None
    )


def _range_query(document: Document) -> RangeQuery:
    merkle = document.get("merkle")
    return RangeQuery(
        start_key=document["startKey"],
        end_key=document["endKey"],
        exhausted=document["exhausted"],
        reads=_reads(document["reads"]) if "reads" in document else None,
        merkle=MerkleSummary(
            merkle["maxDegree"], merkle["maxLevel"], tuple(map(bytes.fromhex, merkle["hashes"]))
        )
        if merkle is not None
        else None,
    )


def _entries(write: Document) -> tuple[MetadataEntry, ...]:
    return tuple(MetadataEntry(entry["name"], entry["value"]) for entry in write["entries"])


def _collection(document: Document) -> CollectionHashes:
    return CollectionHashes(
        collection=document["collection"],
        reads=tuple(
            HashedRead(bytes.fromhex(read["keyHash"]), _version(read["version"]))
            for read in document["reads"]
        ),
        writes=tuple(
            HashedWrite(
                bytes.fromhex(w["keyHash"]),
                bytes.fromhex(w["valueHash"] or ""),
                w["isDelete"],
                w["isPurge"],
            )
            for w in document["writes"]
        ),
        metadata_writes=tuple(
            MetadataWrite(bytes.fromhex(write["key"]), _entries(write))
            for write in document.get("metadataWrites", ())
        ),
        private_rwset_hash=bytes.fromhex(document["hash"] or ""),
    )


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _integer(value: Any) -> int:
    return int(value["bigInteger"]) if isinstance(value, dict) else int(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return (
            _integer(value)
            if value.keys() == {"bigInteger"}
            else {k: _plain(v) for k, v in value.items()}
        )
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if type(value) is not bool and isinstance(value, int) else value
