"""Creators' and endorsers' signatures are verified in the background; what the verdicts say."""

from collections import Counter
from functools import cache
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from devnet.peer import Ledger, Lie, Peer, lying_ledger
from indexer.monitoring.health_server import HealthServer
from ledger.decoding.blocks import read_block
from ledger.decoding.config_blocks import is_config_block
from ledger.model import VALID
from ledger.mongodb.collections import SYNC_STATE
from ledger.mongodb.store import LedgerStore
from protos.common_pb2 import COMMIT_HASH, Block
from protos.transaction_pb2 import BAD_CREATOR_SIGNATURE, ENDORSEMENT_POLICY_FAILURE
from tests.eventually import eventually
from tests.indexer.inventory import signers_in, stored_certificates, uses_of
from tests.indexer.network import HEIGHT, TRUNK, Client, peer_of
from tests.indexer.support import CHANNEL
from tests.indexer.verifying import (
    CODES,
    SIGNED,
    SPLIT,
    VerifyingDaemon,
    stored_verdicts,
    verifying,
)
from tests.ledger.recorded import NAMES, Name, recorded


@cache
def is_failure(code: int) -> bool:
    """Return whether a peer gives the code for a check that a verdict repeats."""
    return code in (BAD_CREATOR_SIGNATURE, ENDORSEMENT_POLICY_FAILURE)


async def sync_state(store: LedgerStore) -> dict[str, Any]:
    return await store.database[SYNC_STATE].find_one({"_id": CHANNEL}) or {}


def health_of(daemon: VerifyingDaemon) -> str:
    return HealthServer({CHANNEL: daemon.progress}, {}, CollectorRegistry()).health().status


async def test_every_block_of_a_hostile_chain_gets_the_verdict_that_its_codes_imply(
    store: LedgerStore, client: Client
) -> None:
    """The verified height follows the blocks as they come."""
    ledger = Ledger(SIGNED[:SPLIT])
    async with peer_of(ledger) as peer, verifying(store, client.source(peer)) as daemon:
        await daemon.until_verified(SPLIT)
        for block in SIGNED[SPLIT:]:
            ledger.append(block)
        await daemon.until_verified(HEIGHT)
        await eventually(
            lambda: sync_state(store), lambda state: state.get("verifiedHeight") == HEIGHT
        )
        assert health_of(daemon) == "ok"
    verdicts = await stored_verdicts(store)
    assert [verdict["_id"] for verdict in verdicts] == list(range(HEIGHT))
    assert [verdict["envelopes"] for verdict in verdicts] == list(map(len, CODES))
    assert not any("contradictions" in verdict for verdict in verdicts)
    failed: Counter[int] = Counter()
    for number, verdict in enumerate(verdicts):
        for failure in verdict.get("failures", ()):
            assert CODES[number][failure["index"]] == failure["code"] != VALID
            failed[failure["code"]] += 1
    expected = Counter(code for codes in CODES for code in codes if is_failure(code))
    assert len(expected) == 2
    assert {code: failed[code] for code in expected} == expected


@pytest.mark.parametrize("lie", [Lie.FLIP, Lie.FLIP_CONSISTENT])
async def test_a_code_that_the_peer_changed_is_a_contradiction(
    store: LedgerStore, client: Client, lie: Lie
) -> None:
    """A transaction that lacks endorsements is VALID. Commit hashes that follow from it, or are
    left out, do not tell.
    """
    lying = lying_ledger(Ledger(SIGNED), lie, 1)
    blocks = [lying.block(number) for number in range(HEIGHT)]
    if lie is Lie.FLIP:
        blocks = [without_commit_hash(block) for block in blocks]
    number, index = next(
        (number, index)
        for number, block in enumerate(blocks)
        for index, code in enumerate(read_block(block).codes)
        if code != CODES[number][index]
    )
    with capture_logs() as logs:
        async with peer_of(blocks) as peer, verifying(store, client.source(peer)) as daemon:
            await daemon.until_verified(HEIGHT)
            unchecked = sum(daemon.progress.unchecked_commit_hashes.values())
            assert unchecked == (HEIGHT - 1 if lie is Lie.FLIP else 0)
            assert health_of(daemon) == "degraded"
            await eventually(
                lambda: sync_state(store), lambda state: state.get("verifiedHeight") == HEIGHT
            )
            await daemon.stop()
    (logged,) = [line for line in logs if line["event"] == "verdict_contradicts"]
    assert (logged["block"], logged["transaction"]) == (number, index)
    assert (logged["status"], logged["check"]) == ("VALID", "endorsement")
    assert "do not satisfy the policy" in logged["reason"]
    verdict = (await stored_verdicts(store))[number]
    assert [found["index"] for found in verdict["contradictions"]] == [index]
    report = (await sync_state(store))["envelopes"]
    assert (report["contradictions"], report["firstContradiction"]) == (1, number)
    async with peer_of(blocks) as peer, verifying(store, client.source(peer)) as again:
        await again.until_verified(HEIGHT)
        assert again.envelopes.contradictions == 1, "a restart does not forget it"


def without_commit_hash(data: bytes) -> bytes:
    block = Block.FromString(data)
    block.metadata.metadata[COMMIT_HASH] = b""
    return block.SerializeToString()


async def test_an_unsigned_chain_contradicts_its_codes(store: LedgerStore, client: Client) -> None:
    async with peer_of(TRUNK) as peer, verifying(store, client.source(peer)) as daemon:
        await daemon.until_verified(HEIGHT)
        first = next(n for n in range(1, HEIGHT) if not is_config_block(read_block(TRUNK[n])))
        assert daemon.envelopes.first_contradiction == first
        assert daemon.envelopes.contradictions > HEIGHT


async def test_a_peer_that_gives_another_block_gives_no_verdict(
    store: LedgerStore, client: Client
) -> None:
    """The verification asks the other peer first, and then the followed one."""
    other = lying_ledger(Ledger(SIGNED), Lie.FLIP, 1)
    async with peer_of(SIGNED) as followed, peer_of(other) as liar:
        sources = client.source(followed), client.source(liar)
        with capture_logs() as logs:
            async with verifying(store, *sources) as daemon:
                await daemon.until_verified(HEIGHT)
        held_up = [line["error"] for line in logs if line["event"] == "verification_held_up"]
        assert any(f"{liar.address} does not give the stored block: codes" in e for e in held_up)
    assert not any("contradictions" in verdict for verdict in await stored_verdicts(store))


async def test_only_agreed_blocks_are_verified(store: LedgerStore, client: Client) -> None:
    async with peer_of(SIGNED) as one, peer_of(SIGNED) as two:
        sources = client.source(one), client.source(two)
        async with verifying(store, *sources, required=2) as daemon:
            await daemon.until(lambda progress: progress.committed_height == HEIGHT)
            daemon.progress.agreement.record_equal(sources[0].name, HEIGHT)
            daemon.progress.agreement.record_equal(sources[1].name, SPLIT)
            daemon.progress.announce_agreement()
            await daemon.until_verified(SPLIT)
            assert len(await stored_verdicts(store)) == SPLIT
            daemon.progress.agreement.record_equal(sources[1].name, HEIGHT)
            daemon.progress.announce_agreement()
            await daemon.until_verified(HEIGHT)


@pytest.mark.parametrize("name", NAMES)
async def test_a_recorded_ledger_verifies_wholly(
    name: Name, store: LedgerStore, client: Client
) -> None:
    """Every envelope is checked, but for the reasons that are named; every signer is found."""
    blocks = recorded(name).blocks
    channel = {"raft-2.5": "kindledger", "bft-3.1": "bftchan"}[name]
    client = Client(client.folder, tls=False)
    async with (
        Peer({channel: Ledger(blocks)}) as peer,
        verifying(store, client.source(peer, channel), channel=channel) as daemon,
    ):
        await daemon.until_verified(len(blocks))
        assert daemon.envelopes.contradictions == 0
    certificates = await stored_certificates(store)
    assert uses_of(certificates) == signers_in(blocks)
    assert {each["acceptance"] for each in certificates} == {"accepted"}
    reasons: Counter[str] = Counter()
    for verdict in await stored_verdicts(store):
        for reason in verdict.get("notChecked", ()):
            reasons[reason["reason"].partition(":")[0]] += reason["count"]
    configuration = "the orderers decided who may change the configuration; their decision is not"
    assert {reason.removesuffix(" repeated"): n for reason, n in reasons.items()} == {
        "raft-2.5": {"nobody signs the genesis block": 1, configuration: 3, "kindledger": 2},
        "bft-3.1": {"nobody signs the genesis block": 1, configuration: 2},
    }[name]


async def test_a_chain_without_its_beginning_is_not_checked_before_it_is_known(
    store: LedgerStore, client: Client
) -> None:
    """With its CONFIG block creators are checked; definitions that are not known never are."""
    start = 12
    last_config = max(n for n in range(start) if is_config_block(read_block(SIGNED[n])))
    for anchor, reason in (
        (None, "the channel's configuration is not known before its next CONFIG block"),
        (read_block(SIGNED[last_config]), "its definition was committed before the first known"),
    ):
        for name in await store.database.list_collection_names():
            await store.database[name].delete_many({})
        async with (
            peer_of(SIGNED) as peer,
            verifying(store, client.source(peer), first=start, anchor=anchor) as daemon,
        ):
            await daemon.until_verified(HEIGHT)
            assert daemon.envelopes.contradictions == 0
        verdicts = await stored_verdicts(store)
        assert verdicts[0]["_id"] == start
        reasons = {each["reason"] for v in verdicts for each in v.get("notChecked", ())}
        assert any(reason in each for each in reasons), reasons
        creators = [f for v in verdicts for f in v.get("failures", ()) if f["check"] == "creator"]
        assert bool(creators) == (anchor is not None)
