"""Queries of the history of keys over a long ledger: their results, indexes and cost."""

import pytest

from ledger.mongodb.paging import Page, Window
from ledger.position import BlockNumber
from tests.ledger import long_ledger
from tests.ledger.long_ledger import LAST, ForgedTransaction, all_transactions
from tests.ledger.query_checks import (
    MIDDLE,
    WHOLE_LEDGER,
    LongLedger,
    check_pages,
    check_plans,
    positions_of,
)


@pytest.mark.parametrize(
    ("namespace", "key"),
    [
        *(
            ("kindledger", "total"),
            ("token", "total"),
            ("kindledger", "donation:77777"),
            ("kindledger", ""),
        ),
        *(("kindledger", "\0donation\0An\0"), ("kindledger", "absent"), ("absent", "total")),
    ],
)
async def test_the_history_of_a_key_has_its_valid_writes(
    ledger: LongLedger, namespace: str, key: str
) -> None:
    def wrote(transaction: ForgedTransaction) -> bool:
        return transaction.code == 0 and (namespace, key) in transaction.writes

    async def read(first: BlockNumber, last: BlockNumber, window: Window) -> Page:
        page = await ledger.reader.key_history(namespace, key, first, last, window)
        for document in page.documents:
            transaction = all_transactions()[
                document["blockNumber"] * long_ledger.PER_BLOCK + document["txIndex"]
            ]
            deleted = transaction.number % 11 == 1
            write = (
                {"isDelete": True}
                if deleted
                else {"value": str(transaction.number), "isDelete": False}
            )
            assert document["writes"] == [write]
            assert (document["txId"], document["ts"]) == (transaction.tx_id, transaction.ts)
            creator = document["creator"]
            msp_id = creator["mspId"] if creator is not None else None
            assert msp_id == transaction.creator_msp
            fields = {"_id", "blockNumber", "txIndex", "txId", "ts", "creator", "writes"}
            assert document.keys() == fields
        return page

    for blocks in (WHOLE_LEDGER, MIDDLE):
        await check_pages(ledger, read, positions_of(wrote, blocks), blocks)


async def test_the_namespaces_of_a_key_are_found(ledger: LongLedger) -> None:
    for key, namespaces in (
        ("total", ["kindledger", "token"]),
        ("donation:77777", ["kindledger"]),
        ("absent", []),
        ("", ["kindledger"]),
    ):
        assert await ledger.reader.key_namespaces(key, LAST, 10) == namespaces
        await check_plans(ledger)
    assert len(await ledger.reader.key_namespaces("total", LAST, 1)) == 1
