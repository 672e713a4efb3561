"""Paging while blocks arrive: no item is skipped or repeated, for any list (property test)."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.model import ChaincodeEvent, Identity, ReadWriteSet, Timestamp, Transaction, Write
from ledger.mongodb.store import LedgerStore
from tests.explorer_api.support import Api, Json, action, block, insert, transaction

T0 = 1_750_000_000
ORGANISATIONS = [
    Identity("Org1MSP", "x509", "CN=a", "aa"),
    Identity("Org2MSP", "x509", "CN=b", "bb"),
]


@dataclass(frozen=True)
class Entry:
    """A transaction on the ledger, with the values that queries distinguish."""

    code: int
    chaincode: str
    function: str
    organisation: int
    campaign: str
    key: str
    seconds: int
    block: int = 0
    index: int = 0

    @property
    def position(self) -> tuple[int, int]:
        return self.block, self.index


entries = st.builds(
    Entry,
    code=st.sampled_from([0, 0, 0, 11, 10]),
    chaincode=st.sampled_from(["token", "token", "other"]),
    function=st.sampled_from(["Mint", "Move"]),
    organisation=st.integers(0, 1),
    campaign=st.sampled_from(["c1", "c2"]),
    key=st.sampled_from(["k1", "\0k\0"]),
    seconds=st.integers(T0, T0 + 5),
)
arrivals = st.lists(st.lists(entries, max_size=6), max_size=2)

Matches = Callable[[Entry], bool]
QUERIES: list[tuple[str, Json, Matches]] = [
    ("/transactions", {}, lambda m: True),
    ("/transactions", {"chaincode": "token"}, lambda m: m.chaincode == "token"),
    (
        "/transactions",
        {"chaincode": "token", "function": "Mint", "status.ne": "MVCC_READ_CONFLICT"},
        lambda m: m.chaincode == "token" and m.function == "Mint" and m.code != 11,
    ),
    ("/transactions", {"creatorMsp": "Org2MSP"}, lambda m: m.organisation == 1),
    (
        "/transactions",
        {"status.ni": "VALID", "block.ge": 2},
        lambda m: m.code != 0 and m.block >= 2,
    ),
    (
        "/transactions",
        {"type": "ENDORSER_TRANSACTION", "status.eq": "VALID"},
        lambda m: m.code == 0,
    ),
    (
        "/transactions",
        {"ts.ge": "2025-06-15T15:06:41Z", "ts.lt": "2025-06-15T15:06:44Z"},
        lambda m: T0 + 1 <= m.seconds < T0 + 4,
    ),
    ("/events", {}, lambda m: m.code == 0),
    ("/events", {"name.eq": "Mint"}, lambda m: m.code == 0 and m.function == "Mint"),
    (
        "/events",
        {"name.in": "Mint,Move", "chaincode": "other"},
        lambda m: m.code == 0 and m.chaincode == "other",
    ),
    ("/events", {"payload.campaignId": "c1"}, lambda m: m.code == 0 and m.campaign == "c1"),
    (
        "/events",
        {"payload.campaignId": "c2", "name.eq": "Move", "block.le": 40},
        lambda m: m.code == 0 and m.campaign == "c2" and m.function == "Move" and m.block <= 40,
    ),
    (
        "/keys/token/k1/history",
        {},
        lambda m: m.code == 0 and m.chaincode == "token" and m.key == "k1",
    ),
    (
        "/keys/other/%00k%00/history",
        {},
        lambda m: m.code == 0 and m.chaincode == "other" and m.key == "\0k\0",
    ),
]


class Chain:
    """A ledger that grows, and the transactions on it."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self.entries: list[Entry] = []
        self.height = 0

    async def grow(self, blocks: list[list[Entry]]) -> None:
        for contents in blocks:
            positioned = [
                Entry(**(vars(m) | {"block": self.height, "index": i}))
                for i, m in enumerate(contents)
            ]
            await insert(self._store, [block(self.height, map(_transaction, positioned))])
            self.entries += positioned
            self.height += 1


def _transaction(m: Entry) -> Transaction:
    tx_id = f"{m.block}.{m.index}"
    event = ChaincodeEvent(
        m.chaincode, tx_id, m.function, f'{{"campaignId": "{m.campaign}"}}'.encode()
    )
    writes = ReadWriteSet(m.chaincode, (), (Write(m.key, b"v", is_delete=False),), (), (), ())
    return transaction(
        m.index,
        tx_id,
        m.code,
        chaincode_id=m.chaincode,
        creator=ORGANISATIONS[m.organisation],
        timestamp=Timestamp(m.seconds, 0),
        actions=(action(args=(m.function.encode(),), rwsets=(writes,), event=event),),
    )


@pytest.fixture
async def chain(store: LedgerStore) -> Chain:
    chain = Chain(store)
    await chain.grow([[]])
    return chain


@settings(max_examples=40)
@given(
    query=st.sampled_from(QUERIES),
    order=st.sampled_from(["asc", "desc"]),
    limit=st.integers(1, 9),
    first=arrivals,
    meanwhile=st.lists(arrivals, max_size=4),
)
async def test_all_pages_show_the_ledger_of_the_first_page(
    api: Api,
    chain: Chain,
    query: tuple[str, Json, Matches],
    order: str,
    limit: int,
    first: list[list[Entry]],
    meanwhile: list[list[list[Entry]]],
) -> None:
    route, filters, matches = query
    await chain.grow(first)
    by_time = "ts.ge" in filters
    expected = sorted(
        (m for m in chain.entries if matches(m)),
        key=lambda m: (m.seconds if by_time else 0, m.position),
        reverse=order == "desc",
    )
    height, positions = chain.height, []
    cursor: Json = {}
    for _ in range(len(expected) // limit + 1):
        body = await api.channel(route, limit=limit, order=order, **filters, **cursor)
        assert body["height"] == height
        positions += [(item["block"], item["txIndex"]) for item in body["items"]]
        await chain.grow(meanwhile.pop() if meanwhile else [])
        if body["page"]["next"] is None:
            break
        cursor = {"cursor": body["page"]["next"]}
    assert body["page"]["next"] is None
    assert positions == [m.position for m in expected]
