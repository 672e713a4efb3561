"""The history of a key: every committed write of it, in pages."""

from typing import Any
from urllib.parse import quote

from pymongo import AsyncMongoClient

from ledger.model import Identity, ReadWriteSet, Write
from ledger.mongodb.indexes import IndexOptions
from tests.explorer_api.support import Api, C, action, append, block, transaction

MVCC_READ_CONFLICT = 11


async def test_the_history_of_a_key_has_its_valid_writes(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    """The history of any key has one entry for each transaction, with committed writes only."""
    creator = Identity("Org1MSP", "x509", "CN=user1", "ab" * 32)
    keys = ["plain", "\0composite\0a/b\0", "%2F?#", "é" * 3000, ".."]

    def writing(number: int, index: int) -> Any:
        key = keys[(number + index) % len(keys)]
        writes = (
            Write("other", b"x", is_delete=False),
            Write(key, f"{number}.{index}".encode(), is_delete=number == 5),
        )
        sets = tuple(
            ReadWriteSet(name, (), writes, (), (), ())
            for name in ("token", "elsewhere")[: 1 + index % 2]
        )
        code = MVCC_READ_CONFLICT if index == 3 else 0
        actions = (action(rwsets=sets),)
        return transaction(index, f"{number}-{index}", code, creator=creator, actions=actions)

    await append(
        client, database_name, [block(n, [writing(n, i) for i in range(6)]) for n in range(8)]
    )
    for key_index, key in enumerate(keys):
        positions = [
            (n, i)
            for n in range(8)
            for i in range(6)
            if i != 3 and (n + i) % len(keys) == key_index
        ]
        items = await api.items(f"/keys/token/{quote(key, safe='')}/history", limit=3)
        assert [(item["block"], item["txIndex"]) for item in items] == positions[::-1]
        for item in items:
            assert item["txId"] == f"{item['block']}-{item['txIndex']}"
            assert (item["value"], item["encoding"]) == (
                f"{item['block']}.{item['txIndex']}",
                "text",
            )
            assert item["isDelete"] == (item["block"] == 5)
            assert (item["creator"]["mspId"], item["creator"]["subject"]) == ("Org1MSP", "CN=user1")
        elsewhere = await api.items(f"/keys/elsewhere/{quote(key, safe='')}/history", order="asc")
        assert [(item["block"], item["txIndex"]) for item in elsewhere] == [
            position for position in positions if position[1] % 2
        ]
    assert await api.items("/keys/nowhere/plain/history") == []
    await api.problem(f"{C}/keys/token/%FF/history", 400, "invalid-parameter")


async def test_a_history_that_is_not_indexed_is_refused(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    await append(
        client, database_name, [block(0, [transaction(0, "a")])], IndexOptions(key_history=False)
    )
    response = await api.problem(f"{C}/keys/token/k/history", 400, "filter-not-indexed")
    assert "key_history" in response.json["hint"]
