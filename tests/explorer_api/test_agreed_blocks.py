"""The API shows blocks at once, and says which of them the required number of peers gave."""

from typing import Any

from pymongo import AsyncMongoClient

from ledger.mongodb.sync_state import ChannelState
from tests.explorer_api.support import CHANNEL, Api, append, block, report_state, transaction

HEIGHT = 6
BLOCKS = [block(number, [transaction(0, f"tx{number}")]) for number in range(HEIGHT)]


async def test_blocks_and_transactions_say_whether_they_are_agreed(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    await append(client, database_name, BLOCKS)
    agreed = HEIGHT - 2
    await report_state(
        client,
        database_name,
        state=ChannelState.FOLLOWING,
        committed_height=HEIGHT,
        agreed_height=agreed,
        peers_required=2,
        peers=[],
    )

    channel = await api.channel("")
    assert (channel["height"], channel["agreedHeight"]) == (HEIGHT, agreed)
    blocks = (await api.channel("/blocks?order=asc&limit=500"))["items"]
    assert [block["agreed"] for block in blocks] == [True] * agreed + [False] * 2
    for number in (agreed - 1, agreed):
        block = await api.channel(f"/blocks/{number}?include=transactions")
        transaction = await api.channel(f"/blocks/{number}/transactions/0")
        expected = number < agreed
        assert block["agreed"] == transaction["agreed"] == expected
        assert all(row["agreed"] == expected for row in block["transactions"])
        response = await api.get(f"/api/v1/channels/{CHANNEL}/blocks/{number}")
        assert ("immutable" in response.headers["Cache-Control"]) == expected

    await report_state(
        client,
        database_name,
        state=ChannelState.FOLLOWING,
        committed_height=HEIGHT,
        agreed_height=HEIGHT,
        peers_required=2,
        peers=[],
    )
    assert (await api.channel(f"/blocks/{agreed}"))["agreed"], "the cached response is not used"


async def test_every_stored_block_is_agreed_without_a_requirement(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    """The report of the daemon may be older than the newest block; a divergence counts."""
    await append(client, database_name, BLOCKS)
    for committed, agreed, shown in ((HEIGHT - 1, HEIGHT - 1, HEIGHT), (HEIGHT, 3, 3)):
        await report_state(client, database_name, committed_height=committed, agreed_height=agreed)
        assert (await api.channel(""))["agreedHeight"] == shown
