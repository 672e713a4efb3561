"""Creators' and endorsers' signatures are verified in the background; what the verdicts say."""

from collections import Counter
from typing import Any

from msgspec.structs import replace

from devnet.peer import Ledger
from ledger.decoding.blocks import read_block
from ledger.model import VALID
from ledger.mongodb.store import LedgerStore
from protos.transaction_pb2 import BAD_CREATOR_SIGNATURE, ENDORSEMENT_POLICY_FAILURE
from tests.eventually import eventually
from tests.indexer.network import HEIGHT, RECIPE, Client, forged, peer_of
from tests.indexer.support import CHANNEL
from tests.indexer.verifying import stored_verdicts, verifying

SIGNED = forged(HEIGHT, replace(RECIPE, signed=True))
CODES = [read_block(data).codes for data in SIGNED]
_BLOCKS = range(HEIGHT)


async def test_every_block_of_a_hostile_chain_gets_the_verdict_that_its_codes_imply(
    store: LedgerStore, client: Client
) -> None:
    """The verified height follows the blocks as they come."""
    ledger = Ledger(SIGNED[:12])
    async with peer_of(ledger) as peer, verifying(store, client.source(peer)) as daemon:
        await daemon.until_verified(12)
        for block in SIGNED[12:]:
            ledger.append(block)
        await daemon.until_verified(HEIGHT)
        assert daemon.progress.agreed_height == HEIGHT
        await eventually(lambda: _synced(store), lambda s: s.get("verifiedHeight") == HEIGHT)
    verdicts = await stored_verdicts(store)
    assert [verdict["_id"] for verdict in verdicts] == list(_BLOCKS)
    assert [verdict["envelopes"] for verdict in verdicts] == list(map(len, CODES))
    assert not any("contradictions" in verdict for verdict in verdicts)
    failed: Counter[int] = Counter()
    for number, verdict in enumerate(verdicts):
        for failure in verdict.get("failures", ()):
            assert CODES[number][failure["index"]] == failure["code"] != VALID
            failed[failure["code"]] += 1
    expected = Counter(code for codes in CODES for code in codes)
    for code in (BAD_CREATOR_SIGNATURE, ENDORSEMENT_POLICY_FAILURE):
        assert failed[code] == expected[code] > 0


async def _synced(store: LedgerStore) -> dict[str, Any]:
    return await store.database["sync_state"].find_one({"_id": CHANNEL}) or {}


async def clean_verdicts(store: LedgerStore, client: Client) -> list[dict[str, Any]]:
    """Verify the whole chain at once, and return the verdicts."""
    async with peer_of(SIGNED) as peer, verifying(store, client.source(peer)) as daemon:
        await daemon.until_verified(HEIGHT)
    return await stored_verdicts(store)
