"""The commit hash and the private values of a bundle follow from the writes of its block."""

import json
from pathlib import Path
from typing import Any

import pytest

from ledger.evidence.making import make_bundle
from ledger.evidence.private_values import private_value_fault
from ledger.evidence.verification import Trusted, verify_bundle
from ledger.state_changes import StateKey
from protos.transaction_pb2 import MVCC_READ_CONFLICT
from tests.evidence.ledgers import EvidenceLedger
from tests.evidence.script import Job, verify_in_process
from tests.evidence.second_maker import second_bundle
from tests.evidence.written_chain import SPACE, WrittenChain, private, write, write_metadata

KEY: StateKey = (SPACE, "", b"k")


def proved(ledger: EvidenceLedger, bundle: bytes, number: int, folder: Path) -> dict[str, Any]:
    """Return the statement of a bundle that both verifiers accept with the peer's commit hash."""
    commit_hash = ledger.commit_hash(number)
    assert commit_hash is not None
    report = verify_bundle(bundle, Trusted(ledger.anchor_hash, commit_hash))
    assert report.failure is None
    assert report.commit_hash_is_trusted
    file = folder / "bundle.json"
    file.write_bytes(bundle)
    alone = verify_in_process(Job(file, ledger.anchor_hash.hex(), commit_hash.hex()))
    assert alone == {"statement": report.statement, "commitHash": commit_hash.hex()}
    assert report.statement is not None
    return report.statement


@pytest.mark.parametrize("value", [b"v", b"\xff\0", None], ids=["text", "binary", "deleted"])
def test_metadata_alone_needs_the_value_from_before(value: bytes | None, tmp_path: Path) -> None:
    chain = WrittenChain()
    chain.cut([write("k", b"1")], [write("k", value)])
    chain.cut([write("other", b"1")], [write_metadata("k")], earlier={KEY: value})
    chain.cut([write("k", b"2")], [write_metadata("k")])
    ledger = EvidenceLedger(chain.blocks)
    for number, earlier in ((2, {KEY: value}), (3, {})):
        assert ledger.earlier_values(number) == earlier
        bundle = ledger.bundle(number, 1)
        statement = proved(ledger, bundle, number, tmp_path)
        assert statement["writes"] == [
            {"namespace": SPACE, "collection": "", "key": "k", "value": True}
        ]
        assert second_bundle(chain.blocks, number, 1) == bundle


def test_without_the_value_from_before_the_code_is_not_bound() -> None:
    chain = WrittenChain()
    chain.cut([write_metadata("k")], earlier={KEY: None})
    ledger = EvidenceLedger(chain.blocks)
    commit_hash = ledger.commit_hash(1)
    for previous, values in ((b"", None), (None, {KEY: None})):
        bundle = make_bundle(
            chain.blocks[:1],
            chain.blocks[1],
            0,
            previous_commit_hash=previous,
            earlier_values=values,
        )
        assert json.loads(bundle)["previousCommitHash"] is None
        report = verify_bundle(bundle, Trusted(ledger.anchor_hash))
        assert report.failure is None
        assert report.commit_hash is None
        assert any("only what the maker" in text for text in report.not_proved)
        report = verify_bundle(bundle, Trusted(ledger.anchor_hash, commit_hash))
        assert "that of the bundle is none" in str(report.failure)


def test_an_empty_private_value_leaves_the_code_unbound() -> None:
    """The releases of Fabric compute different commit hashes."""
    chain = WrittenChain()
    chain.cut([write("k", b"v")], collections=[private("donors", {"d": b""})])
    ledger = EvidenceLedger(chain.blocks)
    bundle = ledger.bundle(1, 0)
    assert json.loads(bundle)["previousCommitHash"] is None
    report = verify_bundle(bundle, Trusted(ledger.anchor_hash))
    assert report.failure is None
    assert report.commit_hash is None
    claiming = bundle.replace(b'"previousCommitHash": null', b'"previousCommitHash": ""')
    report = verify_bundle(claiming, Trusted(ledger.anchor_hash))
    assert "the commit hash cannot be computed: empty_private_value" in str(report.failure)


def test_earlier_values_without_a_commit_hash_are_refused() -> None:
    chain = WrittenChain()
    chain.cut([write_metadata("k")], earlier={KEY: b"v"})
    ledger = EvidenceLedger(chain.blocks)
    bundle = make_bundle(
        chain.blocks[:1],
        chain.blocks[1],
        0,
        previous_commit_hash=b"",
        earlier_values={KEY: b"v"},
    )
    assert verify_bundle(bundle, Trusted(ledger.anchor_hash)).commit_hash is not None
    bundle = bundle.replace(b'"previousCommitHash": ""', b'"previousCommitHash": null')
    failure = verify_bundle(bundle, Trusted(ledger.anchor_hash)).failure
    assert "nothing to compute with them" in str(failure)


def test_a_private_value_is_the_one_that_was_written_or_not(tmp_path: Path) -> None:
    chain = WrittenChain()
    secret = private("donors", {"d1": b'{"name": "x"}', "d2": None})
    chain.cut([write("k", b"v")], [], collections=[secret], codes=[0, MVCC_READ_CONFLICT])
    ledger = EvidenceLedger(chain.blocks)
    statement = proved(ledger, ledger.bundle(1, 0), 1, tmp_path)

    def fault(
        key: str, value: bytes, collection: str = "donors", namespace: str | None = None
    ) -> str | None:
        return private_value_fault(statement, collection, key.encode(), value, namespace)

    assert fault("d1", b'{"name": "x"}') is None
    assert fault("d1", b'{"name": "x"}', namespace=SPACE) is None
    assert "its hash differs" in str(fault("d1", b'{"name": "y"}'))
    assert "its hash differs" in str(fault("d1", b""))
    assert "deletes the key" in str(fault("d2", b"x"))
    assert "does not write this key" in str(fault("d3", b"x"))
    assert "does not write this key" in str(fault("d1", b'{"name": "x"}', "other"))
    assert "does not write this key" in str(fault("d1", b'{"name": "x"}', namespace="token"))
    statement = proved(ledger, ledger.bundle(1, 1), 1, tmp_path)
    assert "MVCC_READ_CONFLICT" in str(fault("d1", b'{"name": "x"}'))


def test_a_collection_of_several_namespaces_must_be_told_apart() -> None:
    writes = [
        {"namespace": space, "collection": "c", "key": "x", "value": "y"} for space in ("a", "b")
    ]
    statement = {"code": 0, "status": "VALID", "writes": writes}
    assert "name one of them: ['a', 'b']" in str(private_value_fault(statement, "c", b"k", b"v"))
