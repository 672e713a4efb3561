"""The height that the required number of organisations gave."""

import pytest

from indexer.progress.agreement import Agreement, difference
from ledger.decoding.block_identities import BlockIdentity
from ledger.position import BlockNumber, Height

PEERS = {"a": "Org1MSP", "b": "Org1MSP", "c": "Org2MSP", "d": None, "e": None}


def agreement(required: int, **compared: int) -> Agreement:
    """Return an agreement whose peers were compared up to these heights."""
    each = Agreement(PEERS, required)
    each.resume(BlockNumber(0), compared)
    return each


@pytest.mark.parametrize(
    ("required", "compared", "height"),
    [
        (1, {}, 100),
        (2, {}, 0),
        (2, {"a": 50, "b": 60}, 0),
        (2, {"a": 50, "b": 60, "c": 70}, 60),
        (2, {"a": 50, "b": 60, "c": 20}, 20),
        (2, {"d": 50, "e": 60}, 0),
        (2, {"a": 40, "d": 50}, 40),
        (3, {"a": 40, "c": 50, "d": 30, "e": 45}, 40),
        (4, {"a": 40, "c": 50, "d": 30, "e": 45}, 0),
        (2, {"a": 500, "c": 500}, 100),
        (2, {"a": 50, "unknown": 70}, 0),
    ],
)
def test_the_height_is_that_of_the_last_required_organisation(
    required: int, compared: dict[str, int], height: int
) -> None:
    assert agreement(required, **compared).height(Height(100)) == height


def test_a_peer_that_delivers_blocks_did_not_give_the_earlier_ones() -> None:
    """Blocks 0 to 9 came from one peer, the next ones from another."""
    each = agreement(2)
    for number in range(10):
        each.record_delivery("a", number, number)
    for number in range(10, 15):
        each.record_delivery("c", number, number)
    assert (each.height_of("a", 15), each.height_of("c", 15)) == (10, 0)
    each.record_equal("c", 9)
    assert each.height(Height(15)) == 9
    each.record_equal("c", 10)
    assert each.height_of("c", 15) == 15, "the blocks that it delivered count by now"
    assert each.height_of("c", 12) == 12, "a block that is not stored does not count"
    assert each.height(Height(15)) == 10
    assert (each.givers(9, 15), each.givers(12, 15)) == (["a", "c"], ["c"])


def test_a_difference_counts_until_all_peers_gave_its_block() -> None:
    each = Agreement({"a": "Org1MSP", "c": "Org2MSP"})
    assert each.height(Height(15)) == 0, "it is not known yet what was found earlier"
    each.resume(BlockNumber(0), {"a": 15, "c": 8}, differed_at=8)
    assert each.height(Height(15)) == 8
    each.record_equal("c", 9)
    assert each.height(Height(15)) == 15
    each.diverged_at = BlockNumber(12)
    assert each.height(Height(15)) == 12


STORED = BlockIdentity(7, "aa", b"\x00\x0a", "cc")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (STORED, None),
        (BlockIdentity(7, "aa", b"\x00\x0a", None), None),
        (BlockIdentity(7, "ab", b"\x00\x0a", "cc"), "header hash"),
        (BlockIdentity(7, "aa", b"\x00\x00", "cc"), "validation code of transaction 1"),
        (BlockIdentity(7, "aa", b"\x00", "cc"), "number of validation codes"),
        (BlockIdentity(7, "aa", b"\x00\x0a", "cd"), "commit hash"),
    ],
)
def test_every_field_is_compared(given: BlockIdentity, field: str | None) -> None:
    """A peer may lack commit hashes: it joined the channel with an earlier Fabric."""
    found = difference(STORED, given)
    assert (found.field if found is not None else None) == field
