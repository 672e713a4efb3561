"""The block that a recorded block must decode to, from the JSON of Fabric's own tool.

The result is a whole `Block`, so that a comparison fails if the decoder drops or adds any field.
Messages that are base64 in the JSON are read with `wire_format`.
"""

from datetime import datetime
from hashlib import sha256

from ledger.model import (
    Action,
    Block,
    Chaincode,
    ChaincodeEvent,
    ClaimedIds,
    CollectionHashes,
    HashedRead,
    HashedWrite,
    Lifecycle,
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
from tests.ledger.fabric_json_config import expected_config
from tests.ledger.fabric_json_identities import (
    decode_base64,
    expected_identity,
    identity_of_certificate,
)
from tests.ledger.recorded import Json
from tests.ledger.wire_format import Message

_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def expected_block(decoded: Json, filtered: Json, raw: bytes, last_config: int) -> Block:
    """Return the block in this JSON.

    The validation codes are those of the filtered delivery. Hashes and sizes are those of `raw`,
    the serialized block.
    """
    header = decoded["header"]
    number, previous_hash, data_hash = (
        int(header["number"]),
        decode_base64(header["previous_hash"]),
        decode_base64(header["data_hash"]),
    )
    block = Message(raw)
    envelopes = block.message(2).each(1)
    assert len(envelopes) == len(decoded["data"]["data"]) == len(filtered["txs"])
    metadata = [decode_base64(entry) for entry in decoded["metadata"]["metadata"]]
    transactions = tuple(
        _transaction(payload["payload"], envelope, index, transaction["code"])
        for index, (payload, envelope, transaction) in enumerate(
            zip(decoded["data"]["data"], envelopes, filtered["txs"], strict=True)
        )
    )
    return Block(
        number=number,
        hash=sha256(_header_der(number, previous_hash, data_hash)).digest(),
        previous_hash=previous_hash,
        data_hash=data_hash,
        commit_hash=Message(metadata[4]).data(1),
        codes=bytes(transaction["code"] for transaction in filtered["txs"]),
        last_config=last_config,
        signers=tuple(_signer(Message(signature)) for signature in Message(metadata[0]).each(2)),
        size=sum(map(len, envelopes)),
        claims=tuple(
            ClaimedIds(transaction.tx_id, transaction.channel_id) for transaction in transactions
        ),
        transactions=transactions,
    )


def _header_der(number: int, previous_hash: bytes, data_hash: bytes) -> bytes:
    """Return the header's DER for the recorded blocks: numbers below 256 and short hashes."""
    integer = b"\2" + (bytes((1, number)) if number < 0x80 else bytes((2, 0, number)))
    octets = b"".join(
        bytes((4, len(octet_string))) + octet_string for octet_string in (previous_hash, data_hash)
    )
    return bytes((0x30, len(integer + octets))) + integer + octets


def _signer(signature: Message) -> Signer:
    if signature.has(3):
        return Signer(identity=None, consenter_id=signature.message(3).integer(1))
    return Signer(identity=expected_identity(signature.message(1).data(1)), consenter_id=None)


def _transaction(payload: Json, envelope: bytes, index: int, code: int) -> Transaction:
    channel_header, creator = (
        payload["header"]["channel_header"],
        payload["header"]["signature_header"]["creator"],
    )
    actions = tuple(_action(action["payload"]) for action in payload["data"].get("actions", ()))
    named = [action.chaincode.name for action in actions if action.chaincode is not None]
    config = payload["data"].get("config")
    return Transaction(
        index=index,
        code=code,
        envelope_hash=sha256(envelope).digest(),
        envelope_size=len(envelope),
        type=channel_header["type"],
        channel_id=channel_header["channel_id"],
        tx_id=channel_header["tx_id"],
        timestamp=_timestamp(channel_header["timestamp"]),
        creator=identity_of_certificate(creator["mspid"], decode_base64(creator["id_bytes"]))
        if creator
        else None,
        chaincode_id=named[0] if named else None,
        actions=actions,
        config=expected_config(config) if config else None,
        lifecycle=_lifecycle(actions[0].args) if named[:1] == ["_lifecycle"] else None,
        errors=(),
    )


def _timestamp(text: str) -> Timestamp:
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int((datetime.fromisoformat(f"{whole}+00:00") - _EPOCH).total_seconds())
    return Timestamp(seconds, int(fraction.ljust(9, "0")))


def _action(payload: Json) -> Action:
    chaincode_input = payload["chaincode_proposal_payload"]["input"]["chaincode_spec"]["input"]
    result = payload["action"]["proposal_response_payload"]["extension"]
    chaincode, response, event = result["chaincode_id"], result["response"], result["events"]
    return Action(
        chaincode=Chaincode(chaincode["name"], chaincode["version"]),
        args=tuple(decode_base64(argument) for argument in chaincode_input["args"]),
        is_init=chaincode_input["is_init"],
        endorsers=tuple(
            expected_identity(decode_base64(e["endorser"]))
            for e in payload["action"]["endorsements"]
        ),
        response=Response(
            response["status"], response["message"], decode_base64(response["payload"])
        ),
        rwsets=tuple(_rwset(rwset) for rwset in result["results"]["ns_rwset"]),
        event=ChaincodeEvent(
            event["chaincode_id"],
            event["tx_id"],
            event["event_name"],
            decode_base64(event["payload"]),
        )
        if event
        else None,
    )


def _rwset(ns: Json) -> ReadWriteSet:
    kv = ns["rwset"] or {"reads": [], "writes": [], "range_queries_info": [], "metadata_writes": []}
    return ReadWriteSet(
        namespace=ns["namespace"],
        reads=_reads(kv["reads"]),
        writes=tuple(
            Write(write["key"], decode_base64(write["value"]), write["is_delete"])
            for write in kv["writes"]
        ),
        range_queries=tuple(
            RangeQuery(
                start_key=query["start_key"],
                end_key=query["end_key"],
                exhausted=query["itr_exhausted"],
                reads=_reads(query["raw_reads"]["kv_reads"]),
                merkle=None,
            )
            for query in kv["range_queries_info"]
        ),
        metadata_writes=tuple(
            MetadataWrite(
                write["key"],
                tuple(
                    MetadataEntry(entry["name"], decode_base64(entry["value"]))
                    for entry in write["entries"]
                ),
            )
            for write in kv["metadata_writes"]
        ),
        collections=tuple(_collection(collection) for collection in ns["collection_hashed_rwset"]),
    )


def _reads(reads: list[Json]) -> tuple[Read, ...]:
    return tuple(
        Read(
            read["key"],
            Version(int(version["block_num"]), int(version["tx_num"])) if version else None,
        )
        for read in reads
        for version in (read["version"],)
    )


def _collection(collection: Json) -> CollectionHashes:
    hashed = Message(decode_base64(collection["hashed_rwset"]))
    return CollectionHashes(
        collection=collection["collection_name"],
        reads=tuple(
            HashedRead(
                read.data(1),
                Version(version.integer(1), version.integer(2)) if read.has(2) else None,
            )
            for read in map(Message, hashed.each(1))
            for version in (read.message(2),)
        ),
        writes=tuple(
            HashedWrite(
                key_hash=write.data(1),
                value_hash=write.data(3),
                is_delete=bool(write.integer(2)),
                is_purge=bool(write.integer(4)),
            )
            for write in map(Message, hashed.each(2))
        ),
        metadata_writes=tuple(
            MetadataWrite(
                write.data(1),
                tuple(MetadataEntry(e.text(1), e.data(2)) for e in map(Message, write.each(2))),
            )
            for write in map(Message, hashed.each(3))
        ),
        private_rwset_hash=decode_base64(collection["pvt_rwset_hash"]),
    )


def _lifecycle(args: tuple[bytes, ...]) -> Lifecycle | None:
    function, definition = args[0].decode(), Message(args[1])
    if function not in ("ApproveChaincodeDefinitionForMyOrg", "CommitChaincodeDefinition"):
        return None
    approves = function.startswith("Approve")
    return Lifecycle(
        kind="approve" if approves else "commit",
        name=definition.text(2),
        version=definition.text(3),
        sequence=definition.integer(1),
        init_required=bool(definition.integer(8)),
        collections=tuple(
            Message(config).message(1).text(1) for config in definition.message(7).each(1)
        ),
        package_id=definition.message(9).message(2).text(1) if approves else None,
    )
