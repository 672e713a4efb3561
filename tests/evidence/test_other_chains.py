"""Blocks of other channels, and transactions whose parts do not belong together, prove nothing."""

import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.x509 import load_pem_x509_certificate
from cryptography.x509.oid import NameOID

from devnet.forge.envelopes import EndorserTransaction
from devnet.forge.identities import Signer, derive_key
from devnet.forge.network import Network
from ledger.decoding.blocks import read_block
from ledger.evidence.errors import EvidenceError
from ledger.evidence.verification import Trusted, verify_bundle
from ledger.model import VALID
from protos.common_pb2 import Envelope
from protos.transaction_pb2 import BAD_CREATOR_SIGNATURE
from tests.evidence.ledgers import EvidenceLedger, recorded_ledger
from tests.evidence.script import Job, verify_in_process
from tests.evidence.second_maker import second_bundle
from tests.evidence.written_chain import NETWORK, WrittenChain, write

Json = dict[str, Any]


def refusals(bundle: bytes, anchor: bytes, folder: Path) -> tuple[str, str]:
    """Return why the project and the script refuse a bundle."""
    failure = verify_bundle(bundle, Trusted(anchor)).failure
    assert failure is not None
    file = folder / "bundle.json"
    file.write_bytes(bundle)
    alone = verify_in_process(Job(file, anchor.hex()))
    assert "refused" in alone, alone
    return failure, alone["refused"]


def two_configurations(channel: str) -> EvidenceLedger:
    """Return a chain; the same orderers sign the chains of all channels."""
    chain = WrittenChain(Network(NETWORK.seed, channel))
    chain.configure()
    chain.configure()
    chain.cut([write("k", b"v")])
    return EvidenceLedger(chain.blocks)


def test_blocks_of_another_channel_of_the_same_orderers_prove_nothing(tmp_path: Path) -> None:
    ours, theirs = two_configurations(NETWORK.channel), two_configurations("other")
    bundle: Json = json.loads(ours.bundle(3, 0))
    bundle["configBlocks"][1] = b64encode(theirs.blocks[1]).decode()
    encoded = f"{json.dumps(bundle, indent=1)}\n".encode()
    by_project, by_script = refusals(encoded, ours.anchor_hash, tmp_path)
    assert "block 1 configures the channel 'other'" in by_project
    assert "CONFIG block is missing" in by_script
    bundle = json.loads(theirs.bundle(3, 0))
    bundle["channel"] = NETWORK.channel
    bundle["configBlocks"] = [b64encode(ours.blocks[n]).decode() for n in range(3)]
    encoded = f"{json.dumps(bundle, indent=1)}\n".encode()
    by_project, by_script = refusals(encoded, ours.anchor_hash, tmp_path)
    assert "for the channel 'other'" in by_project
    assert "of another channel" in by_script


def other_id(chain: WrittenChain) -> bytes:
    transaction = chain.transaction()
    transaction.tx_id = "0" * 64
    return transaction.seal()


def other_proposal(chain: WrittenChain) -> bytes:
    """Return a transaction whose endorsers signed the result of other arguments."""
    endorsed = _response(chain.transaction())
    transaction = chain.transaction()
    transaction.replaced = {"proposal_response_payload": endorsed}
    return transaction.seal()


def _response(transaction: EndorserTransaction) -> bytes:
    found: list[bytes] = []

    class Recording(EndorserTransaction):
        def _level(self, level: Any, message: bytes) -> bytes:
            if level == "proposal_response_payload":
                found.append(message)
            return message

    Recording(**{name: getattr(transaction, name) for name in transaction.__struct_fields__}).seal()
    return found[0]


def other_creator(chain: WrittenChain) -> bytes:
    envelope = Envelope.FromString(chain.transaction().seal())
    envelope.signature = Envelope.FromString(chain.transaction().seal()).signature
    return envelope.SerializeToString()


def endorser_of_no_member(chain: WrittenChain) -> bytes:
    transaction = chain.transaction()
    stranger = Network(NETWORK.seed + 1).endorsers[0]
    transaction.endorsers = [*transaction.endorsers, stranger]
    return transaction.seal()


def creator_without_role(chain: WrittenChain) -> bytes:
    organisation = NETWORK.organisations[0]
    return signed_by(chain, organisation.authority.enroll(organisation.mspid, "nobody", ""))


def creator_with_two_certificates(chain: WrittenChain) -> bytes:
    """Return a transaction whose creator is one member for Fabric, and another one for readers."""
    client, other = NETWORK.organisations[0].clients
    certificates = client.certificate.replace(b" CERTIFICATE", b" X") + other.certificate
    return signed_by(chain, Signer(client.mspid, certificates, derived_key(client)))


def derived_key(signer: Signer) -> EllipticCurvePrivateKey:
    """Return the key of a signer, which is derived from the network's seed."""
    subject = load_pem_x509_certificate(signer.certificate).subject
    (name,) = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return derive_key(NETWORK.seed, str(name.value))


def signed_by(chain: WrittenChain, creator: Signer) -> bytes:
    transaction = chain.transaction()
    transaction.creator = creator
    transaction.use_computed_id()
    return transaction.seal()


UNPROVED: dict[Callable[[WrittenChain], bytes], str] = {
    other_id: "transaction id is not the hash",
    other_proposal: "proposal is not the one in the transaction",
    other_creator: "creator: the signature is wrong",
    endorser_of_no_member: "endorser 2: no valid chain leads",
    creator_without_role: "creator: the certificate has no unit",
    creator_with_two_certificates: "not the one that its text names",
}


@pytest.mark.parametrize("code", [VALID, BAD_CREATOR_SIGNATURE])
@pytest.mark.parametrize("make", UNPROVED, ids=lambda make: make.__name__)
def test_a_transaction_that_is_not_signed_as_a_whole_is_not_proved(
    make: Callable[[WrittenChain], bytes], code: int, tmp_path: Path
) -> None:
    chain = WrittenChain()
    chain.append([(make(chain), code)])
    ledger = EvidenceLedger(chain.blocks)
    with pytest.raises(EvidenceError, match="no evidence can be made"):
        ledger.bundle(1, 0)
    by_project, _ = refusals(second_bundle(chain.blocks, 1, 0), ledger.anchor_hash, tmp_path)
    assert UNPROVED[make] in by_project


def test_all_but_the_last_block_are_config_blocks(tmp_path: Path) -> None:
    chain = WrittenChain()
    chain.cut([write("k", b"v")])
    chain.cut([write("k", b"w")])
    ledger = EvidenceLedger(chain.blocks)
    bundle: Json = json.loads(ledger.bundle(2, 0))
    bundle["configBlocks"].append(b64encode(chain.blocks[1]).decode())
    encoded = f"{json.dumps(bundle, indent=1)}\n".encode()
    by_project, _ = refusals(encoded, ledger.anchor_hash, tmp_path)
    assert "block 1 is no CONFIG block" in by_project


def test_a_later_config_block_can_be_trusted_in_place_of_the_genesis_block(tmp_path: Path) -> None:
    blocks = [*recorded_ledger("raft-2.5").blocks.values()]
    ledger = EvidenceLedger(blocks[2:30])
    assert ledger.anchor_hash == read_block(blocks[2]).hash
    for number in (2, 9):
        bundle = ledger.bundle(number, 0)
        report = verify_bundle(bundle, Trusted(ledger.anchor_hash))
        assert report.failure is None
        assert report.anchor == 2
        assert report.statement is not None
        assert (report.statement["creator"] is None) is (number == 2)
        file = tmp_path / "bundle.json"
        file.write_bytes(bundle)
        assert "statement" in verify_in_process(Job(file, ledger.anchor_hash.hex()))
        refusals(bundle, read_block(blocks[0]).hash, tmp_path)
    not_config = read_block(blocks[9])
    document: Json = json.loads(ledger.bundle(9, 0))
    document["configBlocks"] = []
    encoded = f"{json.dumps(document, indent=1)}\n".encode()
    by_project, _ = refusals(encoded, not_config.hash, tmp_path)
    assert "block 9 is no CONFIG block" in by_project
