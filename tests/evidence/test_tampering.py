"""Every change of a bundle is noticed by both verifiers, or changes nothing of what it proves."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from functools import cache
from mmap import mmap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.decoding.blocks import read_block
from ledger.evidence.bundle import MAX_BUNDLE_BYTES
from ledger.evidence.verification import Trusted, verify_bundle
from ledger.hashes import data_hash
from protos.common_pb2 import SIGNATURES, TRANSACTIONS_FILTER, Block, Metadata
from tests.evidence.ledgers import EvidenceLedger, forged_ledger, recorded_ledger
from tests.evidence.script import Job, verify_in_process
from tests.evidence.written_chain import WrittenChain, private, write, write_metadata
from tests.ledger.hypothesis_profiles import PROFILES

Json = dict[str, Any]
KEY = ("kindledger", "", b"k")


@cache
def ledger() -> EvidenceLedger:
    """Return a short chain with two CONFIG blocks, private data, and a value from before."""
    chain = WrittenChain()
    chain.configure()
    chain.cut([write("k", b"v")], [write("l", b"w")])
    secret = private("donors", {"d": b"secret"})
    chain.cut([write_metadata("k")], [write("m", b"x")], collections=[secret], earlier={KEY: b"v"})
    return EvidenceLedger(chain.blocks)


NUMBER, INDEX = 3, 1


@cache
def original() -> bytes:
    return ledger().bundle(NUMBER, INDEX)


def judge(bundle: bytes, folder: Path) -> tuple[str | None, str | None]:
    """Return why the project refuses a bundle, and why the script does; None for "verified".

    Neither verifier knows the commit hash from elsewhere. A report must be that of the original.
    """
    anchor = ledger().anchor_hash
    report = verify_bundle(bundle, Trusted(anchor))
    if report.failure is None:
        assert report == verify_bundle(original(), Trusted(anchor))
    file = folder / "tampered.json"
    file.write_bytes(bundle)
    alone = verify_in_process(Job(file, anchor.hex()))
    if "refused" not in alone:
        assert alone == verify_in_process(Job(_original_file(folder), anchor.hex()))
    return report.failure, alone.get("refused")


def _original_file(folder: Path) -> Path:
    file = folder / "original.json"
    file.write_bytes(original())
    return file


def encoded(bundle: Json) -> bytes:
    return (json.dumps(bundle, indent=1) + "\n").encode()


def change_block(bundle: Json, change: Callable[[Block], None], name: int | None = None) -> None:
    """Change the block of a bundle, or one of its CONFIG blocks."""
    text = bundle["block"] if name is None else bundle["configBlocks"][name]
    block = Block.FromString(b64decode(text))
    change(block)
    text = b64encode(block.SerializeToString()).decode()
    if name is None:
        bundle["block"] = text
    else:
        bundle["configBlocks"][name] = text


def other_envelope(bundle: Json) -> None:
    def change(block: Block) -> None:
        block.data.data[INDEX] = read_block(ledger().blocks[2]).envelopes[0]

    change_block(bundle, change)


def other_envelope_with_its_hash(bundle: Json) -> None:
    def change(block: Block) -> None:
        block.data.data[INDEX] = read_block(ledger().blocks[2]).envelopes[0]
        block.header.data_hash = data_hash(block.data.data)

    change_block(bundle, change)


def other_code(bundle: Json) -> None:
    def change(block: Block) -> None:
        block.metadata.metadata[TRANSACTIONS_FILTER] = b"\0\x0b"

    change_block(bundle, change)
    bundle["statement"] |= {"code": 11, "status": "MVCC_READ_CONFLICT"}


def code_of_another(bundle: Json) -> None:
    def change(block: Block) -> None:
        block.metadata.metadata[TRANSACTIONS_FILTER] = b"\x0b\0"

    change_block(bundle, change)


def no_signature(bundle: Json) -> None:
    def change(block: Block) -> None:
        metadata = Metadata.FromString(block.metadata.metadata[SIGNATURES])
        del metadata.signatures[:]
        block.metadata.metadata[SIGNATURES] = metadata.SerializeToString()

    change_block(bundle, change)


def no_signature_of_the_configuration(bundle: Json) -> None:
    def change(block: Block) -> None:
        block.metadata.metadata[SIGNATURES] = b""

    change_block(bundle, change, 1)


def config_block_dropped(bundle: Json) -> None:
    del bundle["configBlocks"][1]


def other_network(bundle: Json) -> None:
    """Put another network's genesis block, with the header that has the trusted hash."""
    header = Block.FromString(b64decode(bundle["configBlocks"][0])).header
    bundle["configBlocks"][0] = b64encode(forged_ledger().blocks[0]).decode()

    def change(block: Block) -> None:
        block.header.CopyFrom(header)

    change_block(bundle, change, 0)


def foreign_bundle(bundle: Json) -> None:
    bundle.clear()
    bundle |= json.loads(forged_ledger().bundle(9, 0))


def other_index(bundle: Json) -> None:
    bundle["statement"]["index"] = 0


def statement_edited(bundle: Json) -> None:
    bundle["statement"]["arguments"][0] = "another"


def number_as_float(bundle: Json) -> None:
    bundle["statement"]["block"] = float(NUMBER)


def private_hash_edited(bundle: Json) -> None:
    private_write = bundle["statement"]["writes"][-1]
    assert private_write["collection"] == "donors"
    private_write["value"] = {"hex": "00" * 32}


def fact_added(bundle: Json) -> None:
    bundle["statement"]["time"] = "2026-01-01"


def member_added(bundle: Json) -> None:
    bundle["comment"] = "believe me"


def earlier_value_edited(bundle: Json) -> None:
    bundle["earlierValues"][0][3] = b64encode(b"w").decode()


def earlier_value_dropped(bundle: Json) -> None:
    bundle["earlierValues"].clear()


def previous_commit_hash_edited(bundle: Json) -> None:
    bundle["previousCommitHash"] = "00" * 32


def order_changed(bundle: Json) -> None:
    bundle["channel"] = bundle.pop("channel")


TAMPERED: dict[Callable[[Json], None], str] = {
    other_envelope: "data_hash",
    other_envelope_with_its_hash: "signatures of block 3",
    other_code: "commit hash",
    code_of_another: "commit hash",
    no_signature: "0 valid signatures",
    no_signature_of_the_configuration: "signatures of block 1",
    config_block_dropped: "under the configuration of block 1",
    other_network: "data_hash",
    foreign_bundle: "not the one that is trusted",
    other_index: "wrong about",
    statement_edited: "wrong about arguments",
    number_as_float: "layout",
    private_hash_edited: "wrong about writes",
    fact_added: "unknown facts: ['time']",
    member_added: "comment",
    earlier_value_edited: "commit hash",
    earlier_value_dropped: "earlier values",
    previous_commit_hash_edited: "commit hash",
    order_changed: "layout",
}


@pytest.mark.parametrize("change", TAMPERED, ids=lambda change: change.__name__)
def test_a_tampered_bundle_is_refused(change: Callable[[Json], None], tmp_path: Path) -> None:
    bundle: Json = json.loads(original())
    change(bundle)
    by_project, by_script = judge(encoded(bundle), tmp_path)
    assert TAMPERED[change] in str(by_project)
    assert by_script is not None


def test_a_config_block_that_is_left_out_in_between_is_missed(tmp_path: Path) -> None:
    """The last configuration is there, and its signers are the same: only the sequence tells."""
    raft = recorded_ledger("raft-2.5")
    bundle: Json = json.loads(raft.bundle(20, 0))
    assert len(bundle["configBlocks"]) == 3
    del bundle["configBlocks"][1]
    report = verify_bundle(encoded(bundle), Trusted(raft.anchor_hash))
    assert "a CONFIG block is missing" in str(report.failure)
    file = tmp_path / "bundle.json"
    file.write_bytes(encoded(bundle))
    alone = verify_in_process(Job(file, raft.anchor_hash.hex()))
    assert "a CONFIG block is missing" in alone["refused"]


def test_the_script_refuses_another_commit_hash(tmp_path: Path) -> None:
    right = ledger().commit_hash(NUMBER)
    assert right is not None
    anchor, file = ledger().anchor_hash.hex(), _original_file(tmp_path)
    assert "statement" in verify_in_process(Job(file, anchor, right.hex()))
    for wrong in (ledger().commit_hash(2) or b"", b""):
        assert "another commit hash" in verify_in_process(Job(file, anchor, wrong.hex()))["refused"]
        failure = verify_bundle(original(), Trusted(ledger().anchor_hash, wrong)).failure
        assert "the trusted commit hash is" in str(failure)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_flipped_byte_is_noticed_or_harmless(
    profile: settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("flips")
    bundle = original()

    @settings(profile, max_examples=profile.max_examples // 2)
    @given(st.integers(0, len(bundle) - 1), st.integers(1, 255))
    def flip(at: int, change: int) -> None:
        changed = bytearray(bundle)
        changed[at] ^= change
        judge(bytes(changed), folder)

    flip()


HARMLESS = ("no base64", "windows line ends")
"""Python reads them as if they were right; what is decoded is compared."""

DEEP = b"[" * 100_000
BAD_INPUT = {
    "nothing": b"",
    "no text": b"\xff\xfe\0",
    "deep nesting": DEEP,
    "a deep member": b'{"format": ' + DEEP,
    "a list": b"[]\n",
    "not a number": original().replace(b'"version": 1', b'"version": NaN'),
    "an infinite number": original().replace(b'"version": 1', b'"version": 1e999'),
    "a huge number": original().replace(b'"block": 3', b'"block": ' + b"9" * 5000),
    "another version": original().replace(b'"version": 1', b'"version": 2'),
    "a member twice": original().replace(b'"version": 1,', b'"version": 1,\n "version": 1,'),
    "a negative index": original().replace(b'"index": 1', b'"index": -1'),
    "an index that is true": original().replace(b'"index": 1', b'"index": true'),
    "an index after the last": original().replace(b'"index": 1', b'"index": 2'),
    "a large index": original().replace(b'"index": 1', b'"index": 1000000000000'),
    "no base64": original().replace(b'"block": "', b'"block": "*'),
    "a block that is a list": original().replace(b'"block": "', b'"block": ["'),
    "upper-case digits": original().upper(),
    "windows line ends": original().replace(b"\n", b"\r\n"),
    "truncated": original()[:-100],
    "a second document": original() + original(),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_an_error_in_words(name: str, tmp_path: Path) -> None:
    by_project, by_script = judge(BAD_INPUT[name], tmp_path)
    assert by_project
    assert len(by_project) < 1000
    assert by_script or name in HARMLESS


def test_base64_has_one_form(tmp_path: Path) -> None:
    """The last digit before the padding has bits that are not used."""
    bundle: Json = json.loads(original())
    padded = next(text for text in (bundle["block"], *bundle["configBlocks"]) if text[-1] == "=")
    digit = padded.rstrip("=")[-1]
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = digits[digits.index(digit) + 1]
    text = padded.rstrip("=")[:-1] + other + "=" * padded.count("=")
    assert b64decode(text) == b64decode(padded)
    by_project, _ = judge(original().replace(padded.encode(), text.encode()), tmp_path)
    assert "layout" in str(by_project)


def test_a_larger_file_than_the_limit_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "large.json"
    with file.open("wb") as large:
        large.truncate(MAX_BUNDLE_BYTES + 1)  # no byte of it is on the disk
    refused = verify_in_process(Job(file, ledger().anchor_hash.hex()))["refused"]
    assert "larger than 256 MiB" in refused
    with mmap(-1, MAX_BUNDLE_BYTES + 1) as large:  # no byte of it is in memory
        failure = verify_bundle(large, Trusted(ledger().anchor_hash)).failure  # type: ignore[arg-type]
    assert f"{MAX_BUNDLE_BYTES + 1} bytes" in str(failure)
