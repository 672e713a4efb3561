"""Random bytes as a block or an envelope give an error, or documents with all their content."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.decoding.blocks import read_block
from ledger.errors import CorruptBlockError
from ledger.model import VALID
from tests.ledger import forging
from tests.ledger.hypothesis_profiles import PROFILES
from tests.ledger.invariants import check_block
from tests.ledger.mutations import damaged, envelopes, metadata
from tests.ledger.recorded import NAMES, recorded

_blocks = st.sampled_from(
    [raw for name in NAMES for raw in recorded(name).blocks if len(raw) < 40_000]
)
_envelopes = st.sampled_from(envelopes())
_any_bytes = st.binary(max_size=200)
_signed_bytes = st.one_of(_envelopes, _any_bytes, *[damaged(_envelopes)] * 4)


def _codes(count: int) -> st.SearchStrategy[bytes]:
    """Return codes with one VALID at most: a block with two of the same id would be corrupt."""
    invalid = st.binary(min_size=count, max_size=count).map(
        lambda codes: codes.replace(bytes([VALID]), b"\xff")
    )
    index_of_valid = st.none() | st.integers(0, max(0, count - 1))
    return st.tuples(invalid, index_of_valid).map(
        lambda drawn: (
            drawn[0]
            if drawn[1] is None
            else (drawn[0][: drawn[1]] + b"\0" + drawn[0][drawn[1] + 1 :])[:count]
        )
    )


@st.composite
def _correct_blocks(draw: st.DrawFn) -> bytes:
    """Return blocks with correct hashes and number of codes; all other parts may be wrong."""
    inside = draw(st.lists(_signed_bytes, min_size=1, max_size=4))
    entries = list(draw(st.sampled_from(metadata())))
    for at in draw(st.sets(st.integers(0, len(entries) - 1), max_size=2)):
        entries[at] = draw(damaged(st.just(entries[at])))
    return forging.block(
        inside, draw(_codes(len(inside))), entries[: draw(st.sampled_from([4, 4, 4, 2]))]
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_the_documents_of_a_correct_block_have_all_its_content(profile: settings) -> None:
    @profile
    @given(_correct_blocks())
    def check(raw: bytes) -> None:
        check_block(raw)

    check()


@pytest.mark.parametrize("profile", PROFILES)
def test_a_damaged_block_is_corrupt_or_has_documents(profile: settings) -> None:
    @profile
    @given(damaged(_blocks) | _any_bytes)
    def check(raw: bytes) -> None:
        try:
            block = read_block(raw)
        except CorruptBlockError:
            return
        # Without codes: two VALID envelopes with the same id are an error of another kind.
        check_block(
            forging.block(block.envelopes, metadata=block.metadata[:2] + block.metadata[3:])
        )

    check()
