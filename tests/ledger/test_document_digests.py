"""The documents of the recorded ledgers are exactly those of the current FORMAT, byte for byte."""

from hashlib import sha256

import pytest

from ledger.documents.format import FORMAT
from tests.ledger.recorded import NAMES, Name, encoded_blocks

DIGESTS: dict[Name, tuple[int, int, str]] = {
    "raft-2.5": (
        2,
        1668,
        "52d2bde8a44cb7752a09179840d071e0978275331f79c0f2f7112875e5a9a16e",
    ),
    "bft-3.1": (
        2,
        86,
        "065b7df2289ea0db8aef14623c9a6eab2b1a66fb1850f7d21fdc855502c28536",
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
