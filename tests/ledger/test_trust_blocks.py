"""The orderers' signatures of recorded and forged blocks are verified, and changed ones found."""

from itertools import islice

import msgspec
import pytest

from devnet.forge.forger import Recipe, forge
from devnet.forge.identities import Signer
from ledger.hashes import header_bytes
from ledger.trust.block_signatures import verify_block_signatures
from ledger.trust.verdicts import Result
from protos.common_pb2 import Metadata, MetadataSignature, SignatureHeader
from tests.ledger.recorded import NAMES, Name, recorded
from tests.ledger.trusted_chain import Trusted, flipped, follow, verify

each_ledger = pytest.mark.parametrize("name", NAMES)


def _block(name: Name, number: int) -> Trusted:
    return next(t for t in follow(recorded(name).blocks) if t.block.number == number)


@each_ledger
def test_every_recorded_block_is_signed_as_its_channel_demands(name: Name) -> None:
    signers = {"raft-2.5": 1, "bft-3.1": 3}[name]
    genesis, *blocks = follow(recorded(name).blocks)
    assert genesis.verdict.result is Result.NOT_CHECKED
    for block in blocks:
        assert (block.verdict.result, block.verdict.reason) == (Result.VALID, "")
        assert block.verdict.organisations == ("OrdererMSP",)
        assert block.verdict.signers == signers
        assert block.verdict.last_config == block.last_config


@pytest.mark.parametrize("kind", ["signed", "with placeholders"])
def test_forged_blocks_are_signed_like_recorded_ones(kind: str) -> None:
    recipe = Recipe(seed=12, transactions_per_block=1, signed=kind == "signed")
    chain = (block.data for block in islice(forge(recipe), 220))
    for block in islice(follow(chain), 1, None):
        assert (block.verdict.result, block.verdict.reason) == (Result.VALID, "")
        assert block.verdict.last_config == block.last_config


@each_ledger
def test_every_flipped_bit_of_the_signatures_is_found(name: Name) -> None:
    block, trust, _, _ = _block(name, 7)
    for bit in range(8 * len(block.metadata[0])):
        verdict = verify_block_signatures(
            trust,
            block.number,
            block.previous_hash,
            block.data_hash,
            flipped(block.metadata[0], bit),
        )
        assert verdict.result is not Result.VALID, bit
        assert verdict.reason


@each_ledger
def test_every_flipped_bit_of_the_header_is_found(name: Name) -> None:
    block, trust, _, _ = _block(name, 7)
    changed = [
        *(msgspec.structs.replace(block, number=block.number ^ 1 << bit) for bit in range(3, 64)),
        *(
            msgspec.structs.replace(block, previous_hash=flipped(block.previous_hash, bit))
            for bit in range(256)
        ),
        *(
            msgspec.structs.replace(block, data_hash=flipped(block.data_hash, bit))
            for bit in range(256)
        ),
    ]
    for other in changed:
        assert verify(trust, other).result is Result.INVALID


def test_smart_bft_needs_a_quorum_of_different_consenters() -> None:
    block, trust, _, verdict = _block("bft-3.1", 7)
    metadata = Metadata.FromString(block.metadata[0])
    assert verdict.signers == len(metadata.signatures) == 3
    for left_out in range(3):
        fewer = Metadata(value=metadata.value, signatures=metadata.signatures)
        del fewer.signatures[left_out]
        for repeated in ([], [fewer.signatures[0]], list(fewer.signatures)):
            claimed = Metadata(value=fewer.value, signatures=[*fewer.signatures, *repeated])
            verdict = verify_block_signatures(
                trust,
                block.number,
                block.previous_hash,
                block.data_hash,
                claimed.SerializeToString(),
            )
            assert verdict.result is Result.INVALID
            assert verdict.signers == 2
            assert "2 valid signatures do not satisfy" in verdict.reason


def test_a_member_of_another_organisation_does_not_sign_blocks() -> None:
    recipe = Recipe(seed=13, transactions_per_block=1)
    network = recipe.network()
    blocks = [block.data for block in islice(forge(recipe), 6)]
    block, trust, _, _ = list(follow(blocks))[5]
    value = Metadata.FromString(block.metadata[0]).value
    header = header_bytes(block.number, block.previous_hash, block.data_hash)

    def signed_by(*signers: tuple[bytes, bytes]) -> bytes:
        return Metadata(
            value=value,
            signatures=[MetadataSignature(signature_header=h, signature=s) for h, s in signers],
        ).SerializeToString()

    def signature(signer: Signer) -> tuple[bytes, bytes]:
        own = SignatureHeader(creator=signer.serialized, nonce=b"n").SerializeToString()
        return own, signer.sign(value + own + header)

    def result(metadata: bytes) -> tuple[Result, int]:
        verdict = verify(trust, msgspec.structs.replace(block, metadata=(metadata,)))
        return verdict.result, verdict.signers

    orderer, peer = network.ordering.orderer, network.organisations[0].peer
    assert result(signed_by(signature(orderer))) == (Result.VALID, 1)
    assert result(signed_by(signature(peer), signature(orderer))) == (Result.VALID, 2)
    assert result(signed_by(signature(peer))) == (Result.INVALID, 1)
    assert result(signed_by()) == (Result.INVALID, 0)
    assert result(b"") == (Result.INVALID, 0)
