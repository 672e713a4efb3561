"""Who owns a transaction id, against the rule as it is written, over random chains."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import CorruptBlockError
from ledger.model import VALID, Block, ClaimedIds
from ledger.ownership import MAX_TX_ID_BYTES, decide_owners, ids_to_look_up

_DUPLICATE_TXID = 9
_Chain = list[list[tuple[str, int]]]

_too_long = "é" * (MAX_TX_ID_BYTES // 2 + 1)
_ids = st.sampled_from(["", "a", "b", "c", "\0", "é" * (MAX_TX_ID_BYTES // 2), _too_long])


@st.composite
def chains(draw: st.DrawFn) -> _Chain:
    """Claims (id, code) by block. As Fabric has it, the id of a VALID transaction is new across blocks."""
    chain: _Chain = []
    seen: set[str] = set()
    for _ in range(draw(st.integers(1, 5))):
        claims: list[tuple[str, int]] = []
        valid: set[str] = set()
        for tx_id in draw(st.lists(_ids, max_size=6)):
            may_be_valid = tx_id not in seen and tx_id not in valid and tx_id != _too_long
            code = VALID if may_be_valid and draw(st.booleans()) else _DUPLICATE_TXID
            valid |= {tx_id} if code == VALID and tx_id else set()
            claims.append((tx_id, code))
        seen |= {tx_id for tx_id, _ in claims if tx_id}
        chain.append(claims)
    return chain


@given(chains())
def test_each_id_is_owned_as_the_rule_says(chain: _Chain) -> None:
    expected = _owners_by_the_rule(chain)
    owned: set[str] = set()
    for number, block in enumerate(_blocks(chain)):
        doubtful = ids_to_look_up(block)
        owns = decide_owners(block, doubtful & owned)
        assert owns == [(number, index) in expected for index in range(len(owns))]
        owned |= {t.tx_id for t, owning in zip(block.claims, owns, strict=True) if owning}
    assert owned == {
        tx_id
        for claims in chain
        for tx_id, _ in claims
        if 0 < len(tx_id.encode()) <= MAX_TX_ID_BYTES
    }


def _owners_by_the_rule(chain: _Chain) -> set[tuple[int, int]]:
    """In the first block that has an id, the VALID envelope owns it, else the one with the lowest index."""
    owners: dict[str, tuple[int, int]] = {}
    for number, claims in enumerate(chain):
        for tx_id in {tx_id for tx_id, _ in claims} - owners.keys():
            indexes = [index for index, (claimed, _) in enumerate(claims) if claimed == tx_id]
            owners[tx_id] = number, next((i for i in indexes if claims[i][1] == VALID), indexes[0])
    return {place for tx_id, place in owners.items() if 0 < len(tx_id.encode()) <= MAX_TX_ID_BYTES}


def test_two_valid_transactions_of_one_id_are_a_corrupt_block() -> None:
    (block,) = _blocks([[("a", VALID), ("b", VALID), ("a", VALID)]])
    with pytest.raises(
        CorruptBlockError,
        match=r"block 0: transaction 2: tx_id: .*'a', which transaction 0 has too",
    ):
        decide_owners(block, ())


def _blocks(chain: _Chain) -> Iterator[Block]:
    for number, claims in enumerate(chain):
        yield Block(
            number=number,
            hash=b"",
            previous_hash=b"",
            data_hash=b"",
            commit_hash=b"",
            codes=bytes(code for _, code in claims),
            last_config=None,
            signers=(),
            size=0,
            claims=tuple(ClaimedIds(tx_id, None) for tx_id, _ in claims),
            transactions=(),
        )
