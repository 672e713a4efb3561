"""The chaincodes that the API shows, with their definitions and totals."""

import base64
from collections import Counter
from typing import Any
from urllib.parse import quote

from pymongo import AsyncMongoClient

from ledger.model import Lifecycle, Transaction
from protos.lifecycle_pb2 import CommitChaincodeDefinitionArgs
from tests.explorer_api.support import (
    Api,
    C,
    Json,
    action,
    append,
    block,
    transaction,
    with_event,
)
from tests.ledger.recorded import recorded

RAFT = recorded("raft-2.5")
ENDORSEMENT_POLICY_FAILURE = 10


def invocations() -> list[tuple[int, int, str, Json]]:
    """Return block, index, chaincode and proposal of every recorded endorser transaction.

    They are those of Fabric's own tool.
    """
    invocations = []
    for number, decoded in enumerate(RAFT.decoded):
        for index, envelope in enumerate(decoded["data"]["data"]):
            for invoked in envelope["payload"]["data"].get("actions", ()):
                extension = invoked["payload"]["action"]["proposal_response_payload"]["extension"]
                proposal = invoked["payload"]["chaincode_proposal_payload"]["input"][
                    "chaincode_spec"
                ]["input"]
                invocations.append((number, index, extension["chaincode_id"]["name"], proposal))
    return invocations


def commits() -> list[tuple[int, int, CommitChaincodeDefinitionArgs]]:
    """Return block, index and content of every recorded VALID commitment of a definition."""
    return [
        (
            number,
            index,
            CommitChaincodeDefinitionArgs.FromString(base64.b64decode(proposal["args"][1])),
        )
        for number, index, name, proposal in invocations()
        if name == "_lifecycle"
        and base64.b64decode(proposal["args"][0]) == b"CommitChaincodeDefinition"
        if RAFT.filtered[number]["txs"][index]["validation"] == "VALID"
    ]


async def test_the_chaincodes_are_those_of_the_recorded_ledger(recorded_api: Api) -> None:
    response = await recorded_api.get(f"{C}/chaincodes")
    assert response.headers["Cache-Control"] == "max-age=30"
    assert (response.json["more"], response.json["height"]) == (False, 136)
    rows = {row["name"]: row for row in response.json["items"]}
    events = Counter(event["chaincodeName"] for event in RAFT.events)
    in_force = {definition.name: definition for _, _, definition in commits()}
    blocks_by_name: dict[str, list[int]] = {}
    for number, _, name, _ in invocations():
        blocks_by_name.setdefault(name, []).append(number)
    assert rows.keys() == blocks_by_name.keys()
    for name, numbers in blocks_by_name.items():
        assert rows[name] == {
            "name": name,
            "version": in_force[name].version if name in in_force else None,
            "sequence": in_force[name].sequence if name in in_force else None,
            "transactions": len(numbers),
            "events": events[name],
            "firstBlock": min(numbers),
            "lastBlock": max(numbers),
        }


async def test_the_definitions_of_a_chaincode_are_those_of_the_recorded_ledger(
    recorded_api: Api,
) -> None:
    definitions_on_ledger = commits()
    assert len(definitions_on_ledger) > 2
    rows = {row["name"]: row for row in (await recorded_api.channel("/chaincodes"))["items"]}
    for name, row in rows.items():
        detail = await recorded_api.channel(f"/chaincodes/{name}")
        definitions = detail.pop("definitions")
        assert detail == row | {"height": 136}
        assert definitions == [
            {
                "sequence": definition.sequence,
                "version": definition.version,
                "initRequired": definition.init_required,
                "collections": [
                    c.static_collection_config.name for c in definition.collections.config
                ],
                "block": number,
                "txIndex": index,
                "txId": RAFT.filtered[number]["txs"][index]["txid"],
                "ts": (await recorded_api.channel(f"/blocks/{number}/transactions/{index}"))["ts"],
            }
            for number, index, definition in reversed(definitions_on_ledger)
            if definition.name == name
        ]


def commit(index: int, name: str, sequence: int, code: int = 0) -> Transaction:
    version = f"{sequence}.0"
    lifecycle = Lifecycle(
        "commit", name, version, sequence, init_required=True, collections=(), package_id=None
    )
    return transaction(
        index,
        f"commit {name} {sequence} {code}",
        code,
        chaincode_id="_lifecycle",
        lifecycle=lifecycle,
        actions=(action(args=(b"CommitChaincodeDefinition", b"")),),
    )


async def test_chaincodes_with_unusual_names_are_shown(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    strange = ["a/b?c=%2F&d", "nul\x00\u202e😀", "{$gt: 1}", "..;"]
    await append(
        client,
        database_name,
        [
            block(0, [transaction(i, f"{i}", chaincode_id=name) for i, name in enumerate(strange)]),
            block(
                1,
                [
                    transaction(0, "none", chaincode_id=None),
                    transaction(1, "empty", chaincode_id=""),
                ],
            ),
            block(2, [transaction(0, "long", chaincode_id="l" * 5000)]),
        ],
    )
    names = [row["name"] for row in (await api.channel("/chaincodes"))["items"]]
    assert sorted(names) == sorted([*strange, ""])
    for name in strange:
        detail = await api.channel(f"/chaincodes/{quote(name, safe='')}")
        assert (
            detail["name"],
            detail["transactions"],
            detail["firstBlock"],
            detail["lastBlock"],
        ) == (name, 1, 0, 0)
    for missing in ("l" * 5000, "nul", "Token", "%FF", "a%2Fb"):
        response = await api.problem(f"{C}/chaincodes/{missing}", 404, "chaincode-not-found")
        assert response.headers["Ledger-Height"] == "3"


async def test_definitions_and_transactions_are_independent(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    """A chaincode can be defined but not used, and used but not defined.

    An invalid commitment defines nothing.
    """
    assert await api.channel("/chaincodes") == {"items": [], "more": False, "height": 0}
    failed = commit(1, "unused", 2, ENDORSEMENT_POLICY_FAILURE)
    await append(
        client,
        database_name,
        [block(0, [commit(0, "unused", 1), failed]), block(1, [with_event(0, "a", "Mint", b"")])],
    )
    rows = {row.pop("name"): row for row in (await api.channel("/chaincodes"))["items"]}
    unseen = {"transactions": 0, "events": 0, "firstBlock": None, "lastBlock": None}
    undefined = {"version": None, "sequence": None}
    assert rows == {
        "unused": {"version": "1.0", "sequence": 1, **unseen},
        "token": {**undefined, "transactions": 1, "events": 1, "firstBlock": 1, "lastBlock": 1},
        "_lifecycle": {
            **undefined,
            "transactions": 2,
            "events": 0,
            "firstBlock": 0,
            "lastBlock": 0,
        },
    }
    (hit,) = (await api.channel("/search", q="unus"))["items"]
    assert hit == {"type": "chaincode", "name": "unused", "href": f"{C}/chaincodes/unused"}
    (definition,) = (await api.channel("/chaincodes/unused"))["definitions"]
    assert (definition["sequence"], definition["initRequired"], definition["block"]) == (1, True, 0)
    await append(client, database_name, [block(2, [commit(0, "unused", 2)])])
    detail = await api.channel("/chaincodes/unused")
    assert (
        detail["version"],
        [definition["sequence"] for definition in detail["definitions"]],
    ) == ("2.0", [2, 1])


async def test_at_most_500_chaincodes_are_listed(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    names = [f"cc{n:03}" for n in range(501)]
    busy = [transaction(501, "busy", chaincode_id="cc500")]
    made_up = [transaction(i, name, chaincode_id=name) for i, name in enumerate(names)]
    await append(client, database_name, [block(0, made_up + busy)])
    body = await api.channel("/chaincodes")
    assert ([row["name"] for row in body["items"]], body["more"]) == (
        ["cc500", *names[:499]],
        True,
    )
    stats = await api.channel("/stats")
    assert (len(stats["chaincodes"]), stats["transactions"]) == (500, 502)
    assert (await api.channel("/chaincodes/cc499"))["transactions"] == 1
