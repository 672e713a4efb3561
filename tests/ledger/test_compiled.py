"""The compiled encoder gives the documents of the reference, byte for byte."""

import json
from itertools import islice

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from devnet.forge.forger import Recipe, forge
from indexer.pipeline.encoders import new_encoder
from ledger.block_encoder import EncoderName
from tests.ledger import forging
from tests.ledger.compiled_inputs import CORPUS, corpus, limits, many_identities
from tests.ledger.encoders import encode_with_both, required_compiled
from tests.ledger.hypothesis_profiles import PROFILES
from tests.ledger.mutations import damaged
from tests.ledger.random_envelopes import made_envelope
from tests.ledger.recorded import NAMES, Name, recorded
from tests.ledger.seeded_mutations import overlong_varint
from tests.ledger.wire_format import Message, field

_small_blocks = st.sampled_from(
    [raw for name in NAMES for raw in recorded(name).blocks if len(raw) < 40_000]
)


@pytest.fixture(autouse=True)
def _needs_extension() -> None:
    required_compiled()


@pytest.mark.parametrize("name", NAMES)
def test_the_documents_of_recorded_ledgers_are_the_same(name: Name) -> None:
    owned: set[str] = set()
    for raw in recorded(name).blocks:
        encoded = encode_with_both(raw, owned)
        assert encoded is not None
        owned |= {each["txId"] for each in encoded.transactions}


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(seed=11),
        Recipe(seed=12, invalid_share=0.5),
        Recipe(seed=13, bulk=True, transactions_per_block=200, signed=False),
    ],
    ids=["everyday", "half-invalid", "bulk"],
)
def test_the_documents_of_forged_ledgers_are_the_same(recipe: Recipe) -> None:
    owned: set[str] = set()
    for block in islice(forge(recipe), 40):
        encoded = encode_with_both(block.data, owned)
        assert encoded is not None
        owned |= {each["txId"] for each in encoded.transactions}


@pytest.mark.parametrize("profile", PROFILES)
def test_damaged_blocks_give_the_same_documents_or_the_same_error(profile: settings) -> None:
    @profile
    @given(st.one_of(damaged(_small_blocks), st.binary(max_size=300)))
    def check(raw: bytes) -> None:
        encode_with_both(raw)

    check()


_texts = st.text(max_size=12) | st.sampled_from(["$a", "a.b", "", "\0", '"', "\\", "\x7f", "é"])
_numbers = (
    st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, -1, 2**31, -(2**31), 10**17, 10**18, 2**63, -(2**63)])
)
_values = st.recursive(
    st.none() | st.booleans() | _numbers | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def _payloads(draw: st.DrawFn) -> bytes:
    """Return JSON in many spellings, some of them damaged."""
    separators = draw(st.sampled_from([(",", ":"), (",", ":"), (", ", ": ")]))
    ascii_only = draw(st.booleans())
    text = json.dumps(draw(_values), separators=separators, ensure_ascii=ascii_only)
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    if data and draw(st.booleans()):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 2))] = draw(
            st.sampled_from([b"", b"0", b"-", b"1", b'"', b"{", b"]", b",", b":", b" ", b"\xff"])
        )
    return draw(st.sampled_from([b"", b" "])) + bytes(data)


@pytest.mark.parametrize("profile", PROFILES)
def test_event_payloads_are_stored_alike(profile: settings) -> None:
    @profile
    @given(_payloads(), st.sampled_from([0, 11]))
    @example(b'{"a":1,"a":2}', 0)
    @example(b"[" * 40 + b"]" * 40, 0)
    @example(b'{"a":-0}', 0)
    @example(b'{"a":01}', 0)
    @example(b'{"a":123456789012345678}', 0)
    @example(b'{"a":1234567890123456789}', 0)
    @example(b'{"":{}}', 0)
    @example(b"[]x", 0)
    def check(payload: bytes, code: int) -> None:
        envelope = made_envelope(payload=payload)
        assert encode_with_both(forging.block([envelope], bytes([code]))) is not None

    check()


@pytest.mark.parametrize("tag_bytes", [2, 5, 6, 9, 10, 11])
@pytest.mark.parametrize("length_bytes", [2, 5, 6, 9, 10, 11])
def test_overlong_tags_and_lengths_are_read_alike(tag_bytes: int, length_bytes: int) -> None:
    message = made_envelope()
    (payload,) = Message(message).each(1)
    envelope = (
        overlong_varint(1 << 3 | 2, tag_bytes)
        + overlong_varint(len(payload), length_bytes)
        + payload
    )
    encode_with_both(forging.block([envelope], b"\0"))
    unknown = overlong_varint(9 << 3 | 2, tag_bytes) + overlong_varint(1, length_bytes) + b"x"
    encode_with_both(forging.block([message], b"\0") + unknown)


def test_envelopes_at_the_limits_are_stored_alike() -> None:
    for each in limits():
        encode_with_both(each.block, each.owned_below)


def test_the_inputs_that_a_fuzzer_found_give_the_same_documents() -> None:
    for each in corpus(CORPUS):
        encode_with_both(each.block, each.owned_below)


def test_the_reference_takes_over_when_a_block_has_too_many_identities() -> None:
    from ledger.compiled.encoder import CompiledEncoder  # noqa: PLC0415 - may be absent

    encoder = CompiledEncoder()

    def count_of_reference(raw: bytes) -> int:
        before = encoder.reference_count
        block = encoder.claims(encoder.read(raw))
        encoder.encode(block, [False] * len(block.codes))
        return encoder.reference_count - before

    assert count_of_reference(forging.block([made_envelope(creator=field(1, b"first"))])) == 0
    assert 0 < count_of_reference(many_identities()) < 5
    assert count_of_reference(forging.block([made_envelope(creator=field(1, b"second"))])) == 0


def test_the_extension_encodes_ordinary_envelopes_itself() -> None:
    """Only configurations and chaincode definitions go to the reference."""
    from ledger.compiled.encoder import CompiledEncoder  # noqa: PLC0415 - may be absent

    encoder, ordinary, count = CompiledEncoder(), 0, 0
    for block in islice(forge(Recipe(seed=14, bulk=True, invalid_share=0.1)), 40):
        claimed = encoder.claims(encoder.read(block.data))
        transactions = encoder.encode(claimed, [True] * len(claimed.codes)).transactions
        ordinary += sum(each["chaincodeId"] not in (None, "_lifecycle") for each in transactions)
        count += len(transactions)
    assert encoder.reference_count == count - ordinary


def test_the_environment_chooses_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    assert new_encoder().name is EncoderName.COMPILED
    monkeypatch.setenv("KINDLEDGER_PURE", "1")
    assert new_encoder().name is EncoderName.PYTHON
