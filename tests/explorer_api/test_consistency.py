"""Paging while blocks arrive, and blocks that are only partly stored."""

from typing import Any

import pytest
from pymongo import AsyncMongoClient

from ledger.model import Block
from ledger.mongodb.store import LedgerStore
from tests.explorer_api.support import (
    CHANNEL,
    Api,
    Json,
    append,
    block,
    encoded,
    transaction,
    with_event,
)


def three_mints(number: int) -> Block:
    return block(number, [with_event(i, f"{number}-{i}", "Mint", b"{}") for i in range(3)])


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize(
    ("route", "filters", "per_block"),
    [
        ("/blocks", {}, 1),
        ("/blocks", {"ts.ge": "2000-01-01T00:00:00Z"}, 1),
        ("/events", {}, 3),
        ("/events", {"name.eq": "Mint"}, 3),
    ],
)
async def test_paging_neither_skips_nor_repeats_while_blocks_arrive(
    api: Api,
    client: AsyncMongoClient[Any],
    database_name: str,
    route: str,
    filters: Json,
    per_block: int,
    order: str,
) -> None:
    await append(client, database_name, [three_mints(n) for n in range(4)])
    items: list[Json] = []
    height = 4
    cursor: Json | None = {}
    while cursor is not None:
        body = await api.channel(route, limit=2, order=order, **filters, **cursor)
        assert body["height"] == 4
        items += body["items"]
        cursor = {"cursor": body["page"]["next"]} if body["page"]["next"] else None
        await append(client, database_name, [three_mints(height)])
        height += 1
    numbers = [item["number" if route == "/blocks" else "block"] for item in items]
    assert numbers == sorted([*range(4)] * per_block, reverse=order == "desc")


async def test_a_partly_stored_block_is_not_shown(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    """Transactions and events are stored before their block, which makes them visible."""
    store = LedgerStore(client, database_name)
    await append(client, database_name, [block(0, [with_event(0, "zero", "Mint", b"0")])])
    partly_stored = await encoded(
        store, [block(1, [with_event(0, "one", "Mint", b"1"), transaction(1, "other")])]
    )
    await store.insert_transactions(partly_stored)
    await store.insert_events(partly_stored)

    async def shown() -> list[Any]:
        return [
            [item["txId"] for item in await api.items("/events")],
            [item["txId"] for item in await api.items("/events", name__eq="Mint")],
            [
                item["txId"]
                for item in await api.items("/events", name__in="Mint,Other", block__ge=1)
            ],
            [item["txId"] for item in await api.items("/events", txId="one")],
            [row["number"] for row in await api.items("/blocks")],
            (await api.channel())["counts"],
            (await api.request("GET", f"/api/v1/channels/{CHANNEL}/transactions/one")).status,
            (await api.request("GET", f"/api/v1/channels/{CHANNEL}/transactions/other")).status,
            (await api.request("GET", f"/api/v1/channels/{CHANNEL}/blocks/1")).status,
        ]

    counts = {"blocks": 1, "transactions": 1, "valid": 1, "events": 1}
    assert await shown() == [["zero"], ["zero"], [], [], [0], counts, 404, 404, 404]
    await store.insert_blocks(partly_stored)
    counts = {"blocks": 2, "transactions": 3, "valid": 3, "events": 2}
    ids = ["one", "zero"]
    assert await shown() == [ids, ids, ["one"], ["one"], [1, 0], counts, 200, 200, 200]
