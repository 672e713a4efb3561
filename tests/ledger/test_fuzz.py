"""Any bytes for a block, any bytes for an envelope: an error that says so, or documents that hold what is there."""

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
_anything = st.binary(max_size=200)
_signed = st.one_of(_envelopes, _anything, *[damaged(_envelopes)] * 4)


def _codes(count: int) -> st.SearchStrategy[bytes]:
    """One VALID at most: two of one id would be a corrupt block."""
    invalid = st.binary(min_size=count, max_size=count).map(
        lambda codes: codes.replace(bytes([VALID]), b"\xff")
    )
    places = st.none() | st.integers(0, max(0, count - 1))
    return st.tuples(invalid, places).map(
        lambda drawn: (
            drawn[0]
            if drawn[1] is None
            else (drawn[0][: drawn[1]] + b"\0" + drawn[0][drawn[1] + 1 :])[:count]
        )
    )


@st.composite
def _sound_blocks(draw: st.DrawFn) -> bytes:
    """Blocks whose hashes and filter hold, and nothing else need to."""
    inside = draw(st.lists(_signed, min_size=1, max_size=4))
    entries = list(draw(st.sampled_from(metadata())))
    for at in draw(st.sets(st.integers(0, len(entries) - 1), max_size=2)):
        entries[at] = draw(damaged(st.just(entries[at])))
    return forging.block(
        inside, draw(_codes(len(inside))), entries[: draw(st.sampled_from([4, 4, 4, 2]))]
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_whatever_is_inside_a_sound_block_its_documents_hold_it(profile: settings) -> None:
    @profile
    @given(_sound_blocks())
    def check(raw: bytes) -> None:
        check_block(raw)

    check()


@pytest.mark.parametrize("profile", PROFILES)
def test_a_damaged_block_is_corrupt_or_sound_and_nothing_else(profile: settings) -> None:
    @profile
    @given(damaged(_blocks) | _anything)
    def check(raw: bytes) -> None:
        try:
            frame = read_block(raw)
        except CorruptBlockError:
            return
        # codes of which two made one id VALID are another matter, see `ledger.ownership`
        check_block(
            forging.block(frame.envelopes, metadata=frame.metadata[:2] + frame.metadata[3:])
        )

    check()
