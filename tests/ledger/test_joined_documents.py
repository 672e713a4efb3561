"""Joined documents: what goes in comes out, in commands within MongoDB's limits."""

from itertools import chain

import bson
from hypothesis import given
from hypothesis import strategies as st

from ledger.documents.joined import JoinedDocuments, join, messages

documents = st.binary(max_size=300).map(lambda value: bson.encode({"value": value}))
joined = st.lists(documents, max_size=12).map(join)


@given(st.lists(joined, max_size=5), st.integers(1, 700), st.integers(1, 6))
def test_messages_hold_all_documents_in_order_within_the_limits(
    blocks: list[JoinedDocuments], max_bytes: int, max_count: int
) -> None:
    groups = list(messages(blocks, max_bytes, max_count))
    sent = [document.raw for document in chain.from_iterable(chain.from_iterable(groups))]
    assert sent == [document.raw for block in blocks for document in block]
    for group in groups:
        count = sum(map(len, group))
        assert 1 <= count <= max_count
        assert count == 1 or sum(len(part.raw) for part in group) <= max_bytes


@given(joined, st.integers(1, 4))
def test_a_slice_has_the_documents_of_the_slice(block: JoinedDocuments, step: int) -> None:
    assert list(block[::step]) == list(block)[::step]
    assert len(block[::step]) == len(list(block)[::step])
