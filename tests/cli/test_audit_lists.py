"""`kindledger audit transactions` and `audit key`: lists for auditors, safe in spreadsheets."""

import asyncio
import csv
import io
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import bson
import pytest
from click.testing import CliRunner

from cli.audit.lists import ListFilter
from cli.audit.when import read_when
from cli.commands.audit import audit_group
from cli.commands.audit_lists import list_key_changes, list_transactions
from cli.configuration.settings import Settings
from cli.output.csv_lines import csv_line
from ledger.documents.format import Document
from ledger.mongodb.collections import EVENTS, TRANSACTIONS
from ledger.mongodb.store import LedgerStore
from tests.cli.auditing import FIRST, LAST, MONTH, chain, store_ledger
from tests.indexer.support import expected_documents
from tests.reconciliation.growing_ledger import CHANNEL

DOCUMENTS = {
    name: [bson.decode(raw) for _, raw in sorted(documents.items())]
    for name, documents in expected_documents(tuple(block.data for block in chain())).items()
}
EVENT_NAMES = {event["_id"]: event["eventName"] for event in DOCUMENTS[EVENTS]}
OF_MONTH = [each for each in DOCUMENTS[TRANSACTIONS] if f"{each['ts']:%Y-%m}" == MONTH]


@pytest.fixture
async def settings(mongo_uri: str, store: LedgerStore) -> Settings:
    await store_ledger(store)
    return Settings.model_validate(
        {"mongo": {"uri": mongo_uri}, "channels": {CHANNEL: {"database": store.database.name}}}
    )


def expected(document: Document) -> dict[str, Any]:
    """Return the line of a transaction, as JSON."""
    owned = isinstance(document["txId"], str)
    organisations = dict.fromkeys(each["mspId"] for each in document.get("endorsers", []))
    return {
        "txId": document["txId"] if owned else None,
        "block": document["blockNumber"],
        "index": document["txIndex"],
        "time": f"{document['ts']:%Y-%m-%dT%H:%M:%SZ}",
        "code": document["status"],
        "chaincode": document["chaincodeId"],
        "function": document.get("function"),
        "creator": document["creator"]["mspId"],
        "endorsingOrganisations": list(organisations),
        "event": EVENT_NAMES.get(document["_id"]),
        "claimedTxId": document.get("claimedTxId"),
    }


async def test_the_transactions_of_an_organisation_in_a_month(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Envelopes that were sent again with an old time belong to their time's month."""
    ends = (read_when(MONTH), read_when(MONTH))
    conditions: dict[ListFilter, Callable[[Document], bool]] = {
        ListFilter(): lambda _: True,
        ListFilter(msp_id="Org1MSP"): lambda each: each["creator"]["mspId"] == "Org1MSP",
        ListFilter(chaincode="token"): lambda each: each["chaincodeId"] == "token",
        ListFilter("Org2MSP", "kindledger"): lambda each: (
            (each["creator"]["mspId"], each["chaincodeId"]) == ("Org2MSP", "kindledger")
        ),
        ListFilter(msp_id="Nobody"): lambda _: False,
    }
    for condition, accepts in conditions.items():
        lines = [expected(each) for each in OF_MONTH if accepts(each)]
        await list_transactions(settings, None, ends, condition, as_json=True)
        assert json.loads(capsys.readouterr().out) == lines
        await list_transactions(settings, None, ends, condition, as_json=False)
        header, *cells = csv.reader(io.StringIO(capsys.readouterr().out))
        assert header == list(expected(OF_MONTH[0]))
        assert cells == [
            [
                " ".join(value) if isinstance(value, list) else str("" if value is None else value)
                for value in line.values()
            ]
            for line in lines
        ]
    blocks = (read_when(f"block:{FIRST}"), read_when(f"block:{LAST}"))
    await list_transactions(settings, None, blocks, ListFilter(), as_json=True)
    listed = json.loads(capsys.readouterr().out)
    assert listed == [
        expected(each) for each in DOCUMENTS[TRANSACTIONS] if FIRST <= each["blockNumber"] <= LAST
    ]
    assert len(listed) > len(OF_MONTH)


async def test_who_changed_a_key_and_when(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    changes: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for document in DOCUMENTS[TRANSACTIONS]:
        for rwset in document.get("rwsets", []) if document["status"] == "VALID" else []:
            for write in rwset["writes"]:
                creator, line = document["creator"], expected(document)
                changes.setdefault((rwset["namespace"], write["key"]), []).append(
                    {name: line[name] for name in ("block", "index", "txId", "time", "creator")}
                    | {
                        "creatorSubject": creator["subject"],
                        "creatorFingerprint": creator["fingerprint"],
                        "change": "delete" if write["isDelete"] else "write",
                        "value": write.get("value"),
                        "encoding": None if write["isDelete"] else "text",
                    }
                )
    (namespace, key), lines = max(changes.items(), key=lambda change: len(change[1]))
    assert len(lines) > 3
    await list_key_changes(settings, None, namespace, key, as_json=True)
    assert json.loads(capsys.readouterr().out) == lines
    await list_key_changes(settings, None, namespace, key, as_json=False)
    assert len(capsys.readouterr().out.splitlines()) == len(lines) + 1
    composite, changed = next(each for each in changes.items() if "\0" in each[0][1])
    arguments = ["key", "--encoded", *(quote(each, safe="") for each in composite), "--json"]
    runner = CliRunner()
    invoked = await asyncio.to_thread(
        runner.invoke, audit_group, arguments, obj=lambda: settings, catch_exceptions=False
    )
    assert json.loads(invoked.stdout) == changed
    await list_key_changes(settings, None, namespace, "nothing", as_json=True)
    assert capsys.readouterr().out == "[]\n"


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'quoted", "\uff1d1"]
)
def test_a_cell_that_a_spreadsheet_would_compute_becomes_text(text: str) -> None:
    """Without the apostrophe in front the cell is as it was."""
    (cells,) = csv.reader(io.StringIO(csv_line(["a=b", text, None, 5]), newline=""))
    assert cells == ["a=b", f"'{text}", "", "5"]
