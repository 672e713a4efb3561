"""The documents of the recorded ledgers are exactly those of the current FORMAT, byte for byte."""

from hashlib import sha256

import pytest

from ledger.documents.format import FORMAT
from tests.ledger.recorded import NAMES, Name, encoded_blocks

DIGESTS: dict[Name, tuple[int, int, str]] = {
    "raft-2.5": (
        3,
        1668,
        "72c24369a8395a408b5fda0a7fc5bb2081fb398c2964de92a4e538ff73a9d53a",
    ),
    "bft-3.1": (
        3,
        86,
        "6a200a97139a2c4028f386ab136864273b54a52b14ead16507335a4a5fc18ee1",
    ),
}
"""The format, the number of documents, and the SHA-256 over the BSON of all documents.

The documents are in the order of the blocks: of each block its own document, the documents of its
transactions, and those of its events. If a change of the code changes a digest, it changes what
is stored: increase FORMAT, and then enter the new digests here.
"""


@pytest.mark.parametrize("name", NAMES)
def test_the_documents_of_a_recorded_ledger_have_not_changed(name: Name) -> None:
    digest, count = sha256(), 0
    for block in encoded_blocks(name):
        for document in (block.block, *block.transactions, *block.events):
            digest.update(document.raw)
            count += 1
    assert (FORMAT, count, digest.hexdigest()) == DIGESTS[name]
