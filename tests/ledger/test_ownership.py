"""Owners of transaction ids in random chains, compared with a direct form of the rule."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import CorruptBlockError
from ledger.model import VALID, Block, ClaimedIds
from ledger.owned_id_table import OwnedIdTable
from ledger.ownership import MAX_TX_ID_BYTES, decide_owners, ids_to_look_up
from ledger.position import pack_position

_DUPLICATE_TXID = 9
_Chain = list[list[tuple[str, int]]]

_too_long = "é" * (MAX_TX_ID_BYTES // 2 + 1)
_ids = st.sampled_from(["", "a", "b", "c", "\0", "é" * (MAX_TX_ID_BYTES // 2), _too_long])


@st.composite
def chains(draw: st.DrawFn) -> _Chain:
    """Return the ids and codes of the envelopes of each block.

    As on Fabric, no lower block has the id of a VALID transaction.
    """
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
def test_each_id_has_the_owner_of_the_rule(chain: _Chain) -> None:
    expected = _owners_by_the_rule(chain)
    owned: set[str] = set()
    for number, block in enumerate(_blocks(chain)):
        owns = decide_owners(block, ids_to_look_up(block) & owned)
        assert owns == [(number, index) in expected for index in range(len(owns))]
        owned |= {t.tx_id for t, owning in zip(block.claims, owns, strict=True) if owning}
    assert owned == {
        tx_id
        for claims in chain
        for tx_id, _ in claims
        if 0 < len(tx_id.encode()) <= MAX_TX_ID_BYTES
    }


@pytest.mark.parametrize("hash_of", [hash, len, lambda _: 0])
@given(chain=chains())
def test_the_table_of_owned_ids_gives_the_same_owners(
    hash_of: Callable[[str], int], chain: _Chain
) -> None:
    """Ids of equal hashes are told apart by the envelopes at the candidates' positions."""
    expected = _owners_by_the_rule(chain)
    table = OwnedIdTable(1 << 10, hash_of=hash_of)
    stored: dict[int, str] = {}
    for number, block in enumerate(_blocks(chain)):
        to_look_up = ids_to_look_up(block)
        positions = {each for tx_id in to_look_up for each in table.candidates(tx_id)}
        owned_below = to_look_up & {stored[position] for position in positions}
        owns = decide_owners(block, owned_below)
        assert owns == [(number, index) in expected for index in range(len(owns))]
        claims = enumerate(zip(block.claims, owns, strict=True))
        owned = {claim.tx_id: index for index, (claim, is_owner) in claims if is_owner}
        table.add(number, owned)
        stored |= {pack_position(number, index): tx_id for tx_id, index in owned.items()}


def _owners_by_the_rule(chain: _Chain) -> set[tuple[int, int]]:
    """Return the owners: in the first block with an id, the VALID envelope, else the first one."""
    owners: dict[str, tuple[int, int]] = {}
    for number, claims in enumerate(chain):
        for tx_id in {tx_id for tx_id, _ in claims} - owners.keys():
            indexes = [index for index, (claimed, _) in enumerate(claims) if claimed == tx_id]
            owners[tx_id] = number, next((i for i in indexes if claims[i][1] == VALID), indexes[0])
    return {owner for tx_id, owner in owners.items() if 0 < len(tx_id.encode()) <= MAX_TX_ID_BYTES}


def test_a_block_with_two_valid_transactions_of_the_same_id_is_corrupt() -> None:
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
