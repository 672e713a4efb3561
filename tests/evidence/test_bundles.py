"""Bundles of recorded and forged transactions verify, by the project and without it."""

import json
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest

from ledger.decoding.blocks import read_block
from ledger.evidence.bundle import CHECKS
from ledger.evidence.errors import EvidenceError
from ledger.evidence.verification import Trusted, verify_bundle
from ledger.model import VALID
from tests.evidence.ledgers import EvidenceLedger, Position, forged_ledger, recorded_ledger
from tests.evidence.script import Job, verify_alone
from tests.evidence.second_maker import documented_checks, second_bundle
from tests.ledger.recorded import NAMES


def job(folder: Path, ledger: EvidenceLedger, at: Position, bundle: bytes) -> Job:
    file = folder / f"{at.number}-{at.index}.json"
    file.write_bytes(bundle)
    commit_hash = ledger.commit_hash(at.number)
    return Job(
        file, ledger.anchor_hash.hex(), commit_hash.hex() if commit_hash is not None else None
    )


def check(ledger: EvidenceLedger, at: Position, bundle: bytes) -> None:
    """Check that the bundle proves the transaction, with the peer's commit hash."""
    commit_hash = ledger.commit_hash(at.number)
    report = verify_bundle(bundle, Trusted(ledger.anchor_hash, commit_hash))
    assert report.failure is None
    assert report.statement is not None
    assert Position(*(report.statement[name] for name in ("block", "index", "code"))) == at
    assert report.commit_hash == (commit_hash.hex() if commit_hash is not None else None)


def test_200_recorded_transactions_verify_by_the_project_and_without_it(tmp_path: Path) -> None:
    jobs, statements, codes = [], [], Counter[int]()
    for name in NAMES:
        ledger = recorded_ledger(name)
        folder = tmp_path / name
        folder.mkdir()
        for at in ledger.positions():
            codes_of_block = read_block(ledger.blocks[at.number]).codes
            is_one_of_its_block = at.index % 9 == at.number % min(len(codes_of_block), 9)
            if name == "raft-2.5" and at.code == VALID and not is_one_of_its_block:
                continue
            bundle = ledger.bundle(at.number, at.index)
            check(ledger, at, bundle)
            jobs.append(job(folder, ledger, at, bundle))
            statements.append(json.loads(bundle)["statement"])
            codes[at.code] += 1
    assert 200 <= len(jobs) < 230
    assert codes.keys() == {0, 9, 10, 11, 12}
    reports = verify_alone(jobs, tmp_path)
    assert [report.get("refused", report.get("statement")) for report in reports] == statements
    assert [report["commitHash"] for report in reports] == [each.commit_hash for each in jobs]


def test_every_forged_transaction_is_proved_or_says_why_not(tmp_path: Path) -> None:
    ledger = forged_ledger()
    proved, refused = Counter[int](), Counter[int]()
    jobs = []
    for at in ledger.positions():
        try:
            bundle = ledger.bundle(at.number, at.index)
        except EvidenceError:
            refused[at.code] += 1
            continue
        check(ledger, at, bundle)
        jobs.append(job(tmp_path, ledger, at, bundle))
        proved[at.code] += 1
    assert {0, 11, 12} <= proved.keys()
    assert 0 not in refused
    assert sum(refused.values()) >= 5
    assert all("statement" in report for report in verify_alone(jobs, tmp_path))


@pytest.mark.parametrize("name", ["raft-2.5", "bft-3.1", "forged"])
def test_another_program_makes_the_same_bytes(
    name: Literal["raft-2.5", "bft-3.1", "forged"],
) -> None:
    ledger = forged_ledger() if name == "forged" else recorded_ledger(name)
    blocks = [*ledger.blocks.values()][:40]
    compared = Counter[int]()
    for at in ledger.positions():
        if at.number < len(blocks) and at.number % 4 < 3 and not compared[at.code] > 12:
            try:
                bundle = ledger.bundle(at.number, at.index)
            except EvidenceError:
                continue
            assert second_bundle(blocks, at.number, at.index) == bundle, at
            compared[at.code] += 1
    assert compared[VALID] > 5


def test_the_documentation_has_the_texts_of_the_checks() -> None:
    assert documented_checks() == list(CHECKS)
