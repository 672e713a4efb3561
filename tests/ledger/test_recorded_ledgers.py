"""Two recorded ledgers against what Fabric's own tools, peers and clients said of them."""

from base64 import b64decode, b64encode
from collections.abc import Iterator
from functools import cache
from hashlib import sha256

import msgspec
import pytest

from ledger.decoding.blocks import decode_block, read_block
from ledger.documents.encoding import EncodedBlock, encode_block
from ledger.model import VALID, Block
from ledger.ownership import decide_owners, ids_to_look_up
from tests.ledger.fabric_json import expected_block
from tests.ledger.invariants import check_documents, decoded
from tests.ledger.model_from_documents import Document, exact_payload, milliseconds_of
from tests.ledger.recorded import NAMES, Json, Name, recorded, submitted_transactions

_CONFIG = 1
_DUPLICATE_TXID = 9

each_ledger = pytest.mark.parametrize("name", NAMES)


@cache
def _blocks(name: Name) -> tuple[Block, ...]:
    return tuple(decode_block(read_block(raw)) for raw in recorded(name).blocks)


@cache
def _encoded(name: Name) -> tuple[EncodedBlock, ...]:
    return tuple(_encode_chain(_blocks(name)))


def _encode_chain(blocks: tuple[Block, ...]) -> Iterator[EncodedBlock]:
    owned: set[str] = set()
    for block in blocks:
        owns = decide_owners(block, ids_to_look_up(block) & owned)
        owned |= {t.tx_id for t, owning in zip(block.transactions, owns, strict=True) if owning}
        yield encode_block(block, owns)


def _transaction_documents(name: Name) -> list[Document]:
    return [decoded(document.raw) for block in _encoded(name) for document in block.transactions]


def _event_documents(name: Name) -> list[Document]:
    return [decoded(document.raw) for block in _encoded(name) for document in block.events]


@each_ledger
def test_hash_chain_and_data_hashes_hold(name: Name) -> None:
    ledger = recorded(name)
    previous = b""
    for number, raw in enumerate(ledger.blocks):
        frame = read_block(raw)
        assert (frame.number, frame.previous_hash) == (number, previous)
        assert frame.data_hash == sha256(b"".join(frame.envelopes)).digest()
        assert frame.data_hash == b64decode(ledger.decoded[number]["header"]["data_hash"])
        previous = frame.hash


@each_ledger
def test_every_field_of_every_block_is_as_fabrics_own_tool_decodes_it(name: Name) -> None:
    ledger = recorded(name)
    last_config = 0
    for block, raw, json, filtered in zip(
        _blocks(name), ledger.blocks, ledger.decoded, ledger.filtered, strict=True
    ):
        if any(transaction["type"] == _CONFIG for transaction in filtered["txs"]):
            last_config = block.number
        assert block == expected_block(json, filtered, raw, last_config)


@each_ledger
def test_ids_types_and_codes_are_those_of_the_filtered_delivery(name: Name) -> None:
    def summary(block: Block) -> Json:
        return {
            "number": block.number,
            "txs": [(t.tx_id, t.type, t.code) for t in block.transactions],
            "events": [_event_names(block, index) for index in range(len(block.transactions))],
        }

    assert [summary(block) for block in _blocks(name)] == [
        {
            "number": filtered["number"],
            "txs": [(t["txid"], t["type"], t["code"]) for t in filtered["txs"]],
            "events": [
                [(e["chaincodeId"], e["txId"], e["eventName"]) for e in t.get("events", ())]
                for t in filtered["txs"]
            ],
        }
        for filtered in recorded(name).filtered
    ]
    documents = [
        (document["status"], document["type"]) for document in _transaction_documents(name)
    ]
    types = {1: "CONFIG", 3: "ENDORSER_TRANSACTION"}
    assert documents == [
        (t["validation"], types[t["type"]]) for f in recorded(name).filtered for t in f["txs"]
    ]


def _event_names(block: Block, index: int) -> list[tuple[str, str, str]]:
    events = [action.event for action in block.transactions[index].actions]
    return [(event.chaincode_id, event.tx_id, event.name) for event in events if event is not None]


@each_ledger
def test_event_documents_are_what_fabrics_client_delivered(name: Name) -> None:
    def as_delivered(event: Document) -> Json:
        return {
            "blockNumber": event["blockNumber"],
            "transactionId": event["txId"],
            "chaincodeName": event["chaincodeId"],
            "eventName": event["eventName"],
            "payload": b64encode(exact_payload(event)).decode(),
        }

    documents = _event_documents(name)
    assert [as_delivered(event) for event in documents] == list(recorded(name).events)
    assert [event["_id"] for event in documents] == sorted(event["_id"] for event in documents)
    # payloads that can be queried by their fields are kept parsed, and none of these needs its bytes beside it
    for event in documents:
        payload = exact_payload(event)
        json = payload[:1] in (b"{", b"[")
        assert (event["payloadEncoding"] == "json") is json
        if json:
            assert event["payload"] == msgspec.json.decode(payload)
            assert "payloadBytes" not in event


def test_transactions_are_those_that_the_driver_submitted() -> None:
    by_id = {
        t["claimedTxId"] if "claimedTxId" in t else t["txId"]: t
        for t in _transaction_documents("raft-2.5")[::-1]
    }
    for submitted in submitted_transactions():
        if submitted["validation"] is None:
            assert submitted["txId"] not in by_id
            continue
        document = by_id[submitted["txId"]]
        msp_id, user = submitted["creator"].split("/")
        subject = document["creator"]["subject"]
        assert {
            name: document[name]
            for name in ("chaincodeId", "function", "args", "validationCode", "status")
        } == {
            "chaincodeId": submitted["chaincode"],
            "function": submitted["fn"],
            "args": submitted["args"],
            "validationCode": submitted["code"],
            "status": submitted["validation"],
        }
        assert document["blockNumber"] == submitted["block"]
        assert document["creator"]["mspId"] == msp_id
        assert subject.startswith(f"CN={user}@{msp_id.removesuffix('MSP').lower()}.")


@each_ledger
def test_documents_give_every_block_back(name: Name) -> None:
    for block, encoded in zip(_blocks(name), _encoded(name), strict=True):
        documents = [
            decoded(d.raw) for d in (encoded.block, *encoded.transactions, *encoded.events)
        ]
        owns = [
            "claimedTxId" not in document for document in documents[1 : len(block.transactions) + 1]
        ]
        check_documents(block, owns, documents)
        assert encoded.undecodable == 0


@each_ledger
def test_block_documents_sum_up_their_transactions(name: Name) -> None:
    for encoded in _encoded(name):
        block = decoded(encoded.block.raw)
        transactions = [decoded(document.raw) for document in encoded.transactions]
        assert block["_id"] == block["number"] == encoded.number
        assert block["transactionCount"] == len(transactions)
        assert [t["_id"] for t in transactions] == [
            encoded.number * 2**20 + i for i in range(len(transactions))
        ]
        assert block["validCount"] == sum(t["status"] == "VALID" for t in transactions)
        assert block["eventCount"] == len(encoded.events)
        assert block["size"] == sum(t["envelopeSize"] for t in transactions)
        times = sorted(milliseconds_of(t) or 0 for t in transactions)
        assert milliseconds_of(block) == times[(len(times) - 1) // 2]
        for sums, values in (
            ("statuses", [t["status"] for t in transactions]),
            ("types", [t["type"] for t in transactions]),
            ("chaincodes", [t["chaincodeId"] for t in transactions]),
            (
                "organisations",
                [t["creator"]["mspId"] if t["creator"] else None for t in transactions],
            ),
        ):
            counts = {entry["name"]: entry["count"] for entry in block["sums"][sums]}
            assert counts == {value: values.count(value) for value in values}
            assert len(counts) == len(block["sums"][sums])


def test_repeated_and_empty_ids_are_all_there_and_one_occurrence_owns_each() -> None:
    documents = _transaction_documents("raft-2.5")
    assert len({document["txId"] for document in documents}) == len(documents)
    others = {document["_id"]: document for document in documents if "claimedTxId" in document}
    filtered = recorded("raft-2.5").filtered
    claims: dict[str, list[tuple[int, int]]] = {}
    for block in filtered:
        for index, transaction in enumerate(block["txs"]):
            claims.setdefault(transaction["txid"], []).append(
                (transaction["code"], block["number"] * 2**20 + index)
            )
    repeated = {tx_id: places for tx_id, places in claims.items() if len(places) > 1 and tx_id}
    assert sorted(map(len, repeated.values())) == [2, 3]  # a later block; thrice in one block
    expected = {place: "" for _, place in claims[""]}
    for tx_id, places in repeated.items():
        assert [code for code, _ in places] == [VALID] + [_DUPLICATE_TXID] * (len(places) - 1)
        expected |= {place: tx_id for _, place in places[1:]}
    assert {place: document["claimedTxId"] for place, document in others.items()} == expected
    assert all(
        document["txId"] == place and type(document["txId"]) is not str
        for place, document in others.items()
    )
