"""Two recorded ledgers, compared with the output of Fabric's own tools, peers and clients."""

from base64 import b64decode, b64encode
from hashlib import sha256

import msgspec
import pytest

from ledger.decoding.blocks import read_block
from ledger.model import VALID, Block
from ledger.position import pack_position
from tests.ledger.fabric_json import expected_block
from tests.ledger.invariants import check_documents, decoded
from tests.ledger.model_from_documents import Document, exact_payload, milliseconds_of
from tests.ledger.recorded import (
    NAMES,
    Json,
    Name,
    decoded_blocks,
    encoded_blocks,
    recorded,
    submitted_transactions,
)

_CONFIG = 1
_DUPLICATE_TXID = 9

each_ledger = pytest.mark.parametrize("name", NAMES)


def _transaction_documents(name: Name) -> list[Document]:
    return [
        decoded(document.raw) for block in encoded_blocks(name) for document in block.transactions
    ]


def _event_documents(name: Name) -> list[Document]:
    return [decoded(document.raw) for block in encoded_blocks(name) for document in block.events]


@each_ledger
def test_the_hash_chain_and_the_data_hashes_are_correct(name: Name) -> None:
    ledger = recorded(name)
    previous = b""
    for number, raw in enumerate(ledger.blocks):
        block = read_block(raw)
        assert (block.number, block.previous_hash) == (number, previous)
        assert block.data_hash == sha256(b"".join(block.envelopes)).digest()
        assert block.data_hash == b64decode(ledger.decoded[number]["header"]["data_hash"])
        previous = block.hash


@each_ledger
def test_every_field_of_every_block_is_as_in_fabrics_own_tool(name: Name) -> None:
    ledger = recorded(name)
    last_config = 0
    for block, raw, json, filtered in zip(
        decoded_blocks(name), ledger.blocks, ledger.decoded, ledger.filtered, strict=True
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

    assert [summary(block) for block in decoded_blocks(name)] == [
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
def test_event_documents_are_the_events_of_fabrics_client(name: Name) -> None:
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
    # Each JSON payload is stored parsed, and none needs its exact bytes as well.
    for event in documents:
        payload = exact_payload(event)
        json = payload[:1] in (b"{", b"[")
        assert (event["payloadEncoding"] == "json") is json
        if json:
            assert event["payload"] == msgspec.json.decode(payload)
            assert "payloadBytes" not in event


def test_transactions_are_the_submitted_ones() -> None:
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
def test_every_block_can_be_made_from_its_documents(name: Name) -> None:
    for block, encoded in zip(decoded_blocks(name), encoded_blocks(name), strict=True):
        documents = [
            decoded(d.raw) for d in (encoded.block, *encoded.transactions, *encoded.events)
        ]
        owns = [
            "claimedTxId" not in document for document in documents[1 : len(block.transactions) + 1]
        ]
        check_documents(block, owns, documents)
        assert encoded.undecodable == 0


@each_ledger
def test_block_documents_have_the_totals_of_their_transactions(name: Name) -> None:
    for encoded in encoded_blocks(name):
        block = decoded(encoded.block.raw)
        transactions = [decoded(document.raw) for document in encoded.transactions]
        assert block["_id"] == block["number"] == encoded.number
        assert block["transactionCount"] == len(transactions)
        assert [t["_id"] for t in transactions] == [
            pack_position(encoded.number, i) for i in range(len(transactions))
        ]
        assert block["validCount"] == sum(t["status"] == "VALID" for t in transactions)
        assert block["eventCount"] == len(encoded.events)
        assert block["size"] == sum(t["envelopeSize"] for t in transactions)
        times = sorted(milliseconds_of(t) or 0 for t in transactions)
        assert milliseconds_of(block) == times[(len(times) - 1) // 2]
        for field, values in (
            ("statuses", [t["status"] for t in transactions]),
            ("types", [t["type"] for t in transactions]),
            ("chaincodes", [t["chaincodeId"] for t in transactions]),
            (
                "organisations",
                [t["creator"]["mspId"] if t["creator"] else None for t in transactions],
            ),
        ):
            counts = {entry["name"]: entry["count"] for entry in block["sums"][field]}
            assert counts == {value: values.count(value) for value in values}
            assert len(counts) == len(block["sums"][field])


def test_every_repeated_id_is_stored_and_has_one_owner() -> None:
    documents = _transaction_documents("raft-2.5")
    assert len({document["txId"] for document in documents}) == len(documents)
    others = {document["_id"]: document for document in documents if "claimedTxId" in document}
    filtered = recorded("raft-2.5").filtered
    positions_by_id: dict[str, list[tuple[int, int]]] = {}
    for block in filtered:
        for index, transaction in enumerate(block["txs"]):
            positions_by_id.setdefault(transaction["txid"], []).append(
                (transaction["code"], pack_position(block["number"], index))
            )
    repeated = {
        tx_id: positions
        for tx_id, positions in positions_by_id.items()
        if len(positions) > 1 and tx_id
    }
    assert sorted(map(len, repeated.values())) == [
        2,
        3,
    ]  # once in a later block, and three times in one block
    expected = {position: "" for _, position in positions_by_id[""]}
    for tx_id, positions in repeated.items():
        assert [code for code, _ in positions] == [VALID] + [_DUPLICATE_TXID] * (len(positions) - 1)
        expected |= {position: tx_id for _, position in positions[1:]}
    assert {position: document["claimedTxId"] for position, document in others.items()} == expected
    assert all(
        document["txId"] == position and type(document["txId"]) is not str
        for position, document in others.items()
    )
