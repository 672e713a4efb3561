"""The peer serves headers without envelopes, and lies where it is told to."""

from itertools import islice
from pathlib import Path

import pytest
from click.testing import CliRunner

from devnet.forge.forger import Recipe, forge
from devnet.peer import Ledger, Lie, lying_ledger
from devnet.peer.__main__ import main
from devnet.peer.header_blocks import without_envelopes
from ledger.decoding.block_identities import read_identity
from ledger.decoding.blocks import decode_block, read_block
from ledger.model import VALID
from protos.common_pb2 import COMMIT_HASH, SIGNATURES, Block, Envelope

CHAIN = [block.data for block in islice(forge(Recipe(seed=6, invalid_share=0.3)), 25)]
FIRST = 8


def lie(kind: Lie) -> list[bytes]:
    ledger = lying_ledger(Ledger(CHAIN), kind, FIRST)
    return [ledger.block(number) for number in range(ledger.height)]


def test_only_a_configuration_block_keeps_its_envelope() -> None:
    """As in Fabric from 3.0 on. What peers agree on is the same with and without envelopes."""
    for serialized in CHAIN:
        block, header = (
            Block.FromString(serialized),
            Block.FromString(without_envelopes(serialized)),
        )
        assert (header.header, header.metadata) == (block.header, block.metadata)
        is_config = decode_block(read_block(serialized)).transactions[0].config is not None
        assert header.HasField("data") == is_config
        assert read_identity(serialized, "") == read_identity(header.SerializeToString(), "")
    assert without_envelopes(b"\xff") == b"\xff"


def test_a_flipped_code_changes_nothing_else() -> None:
    served = lie(Lie.FLIP)
    (number,) = (
        n for n, (lying, honest) in enumerate(zip(served, CHAIN, strict=True)) if lying != honest
    )
    lying, honest = read_block(served[number]), read_block(CHAIN[number])
    assert (lying.hash, lying.envelopes) == (honest.hash, honest.envelopes)
    (change,) = (pair for pair in zip(lying.codes, honest.codes, strict=True) if pair[0] != pair[1])
    assert change == (VALID, 10)


def test_a_consistent_lie_changes_one_code_and_the_commit_hashes_after_it() -> None:
    served, flipped = lie(Lie.FLIP_CONSISTENT), lie(Lie.FLIP)
    (number,) = (n for n in range(len(CHAIN)) if flipped[n] != CHAIN[n])
    assert served[:number] == CHAIN[:number]
    for lying, honest in zip(served[number:], flipped[number:], strict=True):
        changed, block = Block.FromString(lying), Block.FromString(honest)
        assert changed.metadata.metadata[COMMIT_HASH] != block.metadata.metadata[COMMIT_HASH]
        changed.metadata.metadata[COMMIT_HASH] = block.metadata.metadata[COMMIT_HASH]
        assert changed == block


def test_a_forged_block_continues_the_chain_without_any_signature() -> None:
    *honest, forged = lie(Lie.FORGE)
    assert honest == CHAIN[:FIRST]
    block = read_block(forged)
    assert (block.number, block.previous_hash) == (FIRST, read_block(CHAIN[FIRST - 1]).hash)
    assert block.codes == bytes([VALID])
    assert Envelope.FromString(block.envelopes[0]).signature == b"no signature at all"
    assert block.metadata[SIGNATURES] == b""


def test_a_surplus_transaction_follows_those_of_the_chain() -> None:
    *honest, surplus = lie(Lie.SURPLUS)
    assert honest == CHAIN[:FIRST]
    lying, right = read_block(surplus), read_block(CHAIN[FIRST])
    assert lying.envelopes[:-1] == right.envelopes
    assert lying.codes == right.codes + bytes([VALID])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lie", "flip"], "need each other"),
        (["--lie-from", "3"], "need each other"),
        (["--lie", "flip", "--lie-from", "25"], "choose a lower block"),
        (["--lie", "surplus", "--lie-from", "25"], "block 25 is not in"),
    ],
)
def test_the_command_explains_an_impossible_lie(
    tmp_path: Path, options: list[str], message: str
) -> None:
    for number, block in enumerate(CHAIN):
        (tmp_path / f"{number:06}.block").write_bytes(block)
    result = CliRunner().invoke(main, [str(tmp_path), "--channel", "kindledger", *options])
    assert (result.exit_code, message in result.output) == (2, True), result.output
