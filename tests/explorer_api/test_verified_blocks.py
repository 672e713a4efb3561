"""The API says which blocks are verified, and what the verification of their signatures found."""

from datetime import UTC, datetime
from typing import Any

from pymongo import AsyncMongoClient

from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState, EnvelopeReport
from ledger.mongodb.verdicts import VerdictStore, next_verdict
from ledger.trust.block_findings import BlockFindings, Finding, ReasonCount
from ledger.trust.verdicts import CheckName
from tests.explorer_api.support import CHANNEL, Api, append, block, report_state, transaction

HEIGHT = 6
VERIFIED = 4
CONTRADICTED = 2
BLOCKS = [
    block(number, [transaction(0, f"tx{number}"), transaction(1, f"other{number}")])
    for number in range(HEIGHT)
]
FOUND = Finding(1, 0, CheckName.ENDORSEMENT, "code 0, but nobody endorsed")
FINDINGS = {
    1: BlockFindings(2, 1, (ReasonCount("a key has a policy of its own", 1),)),
    CONTRADICTED: BlockFindings(2, 2, (), (FOUND,), 1, (FOUND,), 1),
}


async def store_verdicts(client: AsyncMongoClient[Any], database: str) -> None:
    """Store verdicts on the first blocks, and report that the daemon verifies."""
    store = LedgerStore(client, database)
    verdicts, last = VerdictStore(store.database), None
    for number in range(VERIFIED):
        stored = await store.block(number)
        assert stored is not None
        findings = FINDINGS.get(number, BlockFindings(2, 2))
        last = next_verdict(
            number, stored.hash.hex(), findings, last, configures=number == 0, defines=False
        )
        await verdicts.insert([last])
    await report_state(
        client,
        database,
        state=ChannelState.FOLLOWING,
        committed_height=HEIGHT,
        agreed_height=HEIGHT - 1,
        peers_required=2,
        verifies_envelopes=True,
        verified_height=VERIFIED,
        envelopes=EnvelopeReport(1, CONTRADICTED),
        peers=[],
        updated_at=datetime.now(UTC),
    )


async def test_blocks_and_transactions_have_their_verdicts(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    await append(client, database_name, BLOCKS)
    await store_verdicts(client, database_name)

    states = ["verified"] * VERIFIED + ["agreed", "stored"]
    for number, state in enumerate(states):
        shown = await api.channel(f"/blocks/{number}")
        assert shown["verification"]["state"] == state
        assert (shown["verification"]["verdict"] is not None) == (number in FINDINGS)
        response = await api.get(f"/api/v1/channels/{CHANNEL}/blocks/{number}")
        assert ("immutable" in response.headers["Cache-Control"]) == (state == "verified")
    unchecked = (await api.channel("/blocks/1"))["verification"]["verdict"]
    assert unchecked["notChecked"] == [{"reason": "a key has a policy of its own", "count": 1}]
    contradicted = (await api.channel(f"/blocks/{CONTRADICTED}"))["verification"]["verdict"]
    expected = {"index": 1, "code": 0, "check": "endorsement", "reason": FOUND.reason}
    assert contradicted["contradictions"] == contradicted["failures"] == [expected]
    for path, findings in (
        (f"/blocks/{CONTRADICTED}/transactions/1", [expected]),
        (f"/transactions/other{CONTRADICTED}", [expected]),
        (f"/transactions/tx{CONTRADICTED}", []),
    ):
        verification = (await api.channel(path))["verification"]
        assert verification == {
            "state": "verified",
            "failures": findings,
            "contradictions": findings,
        }
    assert (await api.channel("/transactions/tx4"))["verification"]["state"] == "agreed"


async def test_the_verified_height_and_the_contradictions_are_shown(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    await append(client, database_name, BLOCKS)
    assert (await api.channel(""))["verifiedHeight"] is None
    assert (await api.channel("/audit"))["signatures"]["verdict"] == "unknown"
    await store_verdicts(client, database_name)

    assert (await api.channel(""))["verifiedHeight"] == VERIFIED
    assert (await api.channel("/audit"))["signatures"] == {
        "verdict": "contradicted",
        "height": VERIFIED,
        "contradictions": 1,
        "firstContradiction": CONTRADICTED,
    }
    status = (await api.get("/api/v1/status")).json["channels"][0]
    assert status["verifiedHeight"] == VERIFIED
    assert status["envelopes"]["contradictions"] == 1
    health = (await api.get("/health")).json
    check = next(each for each in health["checks"] if each["name"] == f"channel {CHANNEL}")
    assert check["status"] == "degraded"
    assert f"the first one in block {CONTRADICTED}" in check["detail"]
