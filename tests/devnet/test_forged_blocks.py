"""The blocks of a forged chain: hashes, signatures, metadata and configuration updates."""

import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice, pairwise
from pathlib import Path

import pytest
from cryptography import x509
from msgspec.structs import replace

from devnet.forge.forger import ForgedBlock, Recipe, forge
from ledger.hashes import block_hash, data_hash, header_bytes, transaction_id
from ledger.signing import load_signing_identity
from protos.common_pb2 import (
    CONFIG,
    Block,
    ChannelHeader,
    Envelope,
    LastConfig,
    Metadata,
    OrdererBlockMetadata,
    Payload,
    SignatureHeader,
)
from protos.configuration_pb2 import ConfigUpdate, ConfigUpdateEnvelope
from protos.transaction_pb2 import (
    VALID,
)
from tests.devnet.forged_chain import RECIPE
from tests.devnet.signatures import config_of, verify


def test_blocks_are_chained_signed_and_have_their_metadata(
    blocks: list[Block], roots: dict[str, x509.Certificate]
) -> None:
    previous = b""
    last_config = 0
    for number, block in enumerate(blocks):
        header = block.header
        assert header.number == number
        assert header.previous_hash == previous
        assert header.data_hash == data_hash(block.data.data)
        previous = block_hash(number, header.previous_hash, header.data_hash)
        assert len(block.metadata.metadata) == 5
        assert len(block.metadata.metadata[2]) == len(block.data.data)
        if number == 0:
            continue
        envelope = block.data.data[0]
        if len(block.data.data) == 1 and b"OrdererOrg" in envelope:
            last_config = number
        signatures = Metadata.FromString(block.metadata.metadata[0])
        value = OrdererBlockMetadata.FromString(signatures.value)
        assert value.last_config.index == last_config
        marked = Metadata.FromString(block.metadata.metadata[1])
        assert LastConfig.FromString(marked.value).index == last_config
        assert block.metadata.metadata[3] == b""
        assert len(Metadata.FromString(block.metadata.metadata[4]).value) == 32
        (signature,) = signatures.signatures
        signed = header_bytes(number, header.previous_hash, header.data_hash)
        creator = SignatureHeader.FromString(signature.signature_header).creator
        message = signatures.value + signature.signature_header + signed
        assert verify(creator, signature.signature, message, roots) == "OrdererMSP"
    assert last_config == 100


def test_genesis_is_as_a_peer_serves_it(blocks: list[Block]) -> None:
    genesis = blocks[0]
    signatures = Metadata(value=OrdererBlockMetadata(last_config=LastConfig()).SerializeToString())
    assert list(genesis.metadata.metadata) == [signatures.SerializeToString(), b"", b"\0", b"", b""]
    (data,) = genesis.data.data
    envelope = Envelope.FromString(data)
    payload = Payload.FromString(envelope.payload)
    header = ChannelHeader.FromString(payload.header.channel_header)
    signature_header = SignatureHeader.FromString(payload.header.signature_header)
    assert (header.type, header.version, header.channel_id) == (CONFIG, 1, "kindledger")
    assert header.tx_id == transaction_id(signature_header.nonce, b"")
    assert signature_header.creator == b""
    assert envelope.signature == b""
    assert 18_000 < len(genesis.SerializeToString()) < 21_000  # recorded: 19,530


def test_a_configuration_update_is_alone_in_its_block_and_has_no_id(
    blocks: list[Block], roots: dict[str, x509.Certificate]
) -> None:
    updated = [block for block in blocks if b"OrdererOrg" in block.data.data[0]]
    assert [block.header.number for block in updated] == [0, 1, 2, 100]
    for former, block in pairwise(updated):
        (data,) = block.data.data
        envelope = Envelope.FromString(data)
        payload = Payload.FromString(envelope.payload)
        assert ChannelHeader.FromString(payload.header.channel_header).tx_id == ""
        creator = SignatureHeader.FromString(payload.header.signature_header).creator
        assert verify(creator, envelope.signature, envelope.payload, roots) == "OrdererMSP"
        after = config_of(block)
        assert after.config.sequence == config_of(former).config.sequence + 1
        signed = ConfigUpdateEnvelope.FromString(Payload.FromString(after.last_update.payload).data)
        assert ConfigUpdate.FromString(signed.config_update).channel_id == "kindledger"
        for signature in signed.signatures:
            admin = SignatureHeader.FromString(signature.signature_header).creator
            verify(
                admin, signature.signature, signature.signature_header + signed.config_update, roots
            )
    application = [config_of(block).config.channel_group.groups["Application"] for block in updated]
    assert [sorted(group.groups) for group in application[2:]] == [
        ["Org1MSP", "Org2MSP"],
        ["Org1MSP", "Org2MSP", "Org3MSP"],
    ]
    assert "AnchorPeers" in application[1].groups["Org1MSP"].values
    assert application[3].groups["Org2MSP"] == application[2].groups["Org2MSP"]


def test_without_failures_everything_is_valid_and_of_the_recorded_size() -> None:
    recipe = Recipe(transactions_per_block=100, invalid_share=0, bulk=True, signed=False)
    sizes: dict[str, list[int]] = {}
    for block in islice(forge(recipe), 18):
        for submission in block.submissions:
            assert submission.code == VALID
            sizes.setdefault(submission.function, []).append(len(submission.envelope))
    for function, recorded in {"Donate": 4647, "Transfer": 4371, "Mint": 4186}.items():
        assert sum(sizes[function]) / len(sizes[function]) == pytest.approx(recorded, rel=0.03)
    assert len(sizes["Donate"]) > 300


def test_equal_recipes_give_equal_bytes_in_every_process(forged: list[ForgedBlock]) -> None:
    program = (
        "import sys; from hashlib import sha256; from itertools import islice\n"
        "from devnet.forge.forger import forge\n"
        "from tests.devnet.forged_chain import BLOCKS, RECIPE\n"
        "chain = b''.join(block.data for block in islice(forge(RECIPE), BLOCKS))\n"
        "sys.stdout.write(sha256(chain).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1234"}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == sha256(b"".join(block.data for block in forged)).hexdigest()


def test_another_seed_gives_another_chain_and_a_branch_forks_at_its_block() -> None:
    recipe = Recipe(seed=1, transactions_per_block=3)
    trunk = [block.data for block in islice(forge(recipe), 16)]
    other = [block.data for block in islice(forge(replace(recipe, seed=2)), 2)]
    branch = [block.data for block in islice(forge(replace(recipe, branch_at=12)), 16)]
    assert other[0] != trunk[0]
    assert branch[:12] == trunk[:12]
    fork = [Block.FromString(data).header for data in (trunk[12], branch[12])]
    assert fork[0].previous_hash == fork[1].previous_hash
    assert fork[0].data_hash != fork[1].data_hash


def test_the_client_signs_with_the_identity_that_it_wrote_to_a_folder(
    tmp_path: Path, roots: dict[str, x509.Certificate]
) -> None:
    client = RECIPE.network().client
    client.write(tmp_path / "client")
    certificate, key = tmp_path / "client" / "cert.pem", tmp_path / "client" / "key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    loaded = load_signing_identity("Org1MSP", certificate, key)
    assert verify(loaded.creator, loaded.sign(b"seek"), b"seek", roots) == "Org1MSP"
    authority = RECIPE.network().organisations[0].authority
    expired = authority.enroll(
        "Org1MSP", "Old@org1.example.com", "client", valid_to=datetime(2025, 1, 1, tzinfo=UTC)
    )
    assert verify(expired.serialized, expired.sign(b"seek"), b"seek", roots) == "Org1MSP"
    assert x509.load_pem_x509_certificate(expired.certificate).not_valid_after_utc.year == 2025
