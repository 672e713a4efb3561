"""docs/evidence/verify.py: its configurations, its orderers, and what it imports."""

import ast
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding

from devnet.forge.genesis import channel_group, genesis_envelope
from protos.common_pb2 import (
    CONFIG,
    ENDORSER_TRANSACTION,
    Block,
    ChannelHeader,
    Envelope,
    Metadata,
    MetadataSignature,
    Payload,
    SignatureHeader,
)
from protos.configuration_pb2 import (
    Capabilities,
    Capability,
    Config,
)
from protos.msp_pb2 import SerializedIdentity
from tests.evidence.ledgers import recorded_ledger
from tests.evidence.organisation import (
    ED25519,
    MEMBER,
    MESSAGE,
    NAME,
    PLAIN,
    ROOT,
    A,
    B,
    group_of,
    signature_policy_of,
)
from tests.evidence.script import SCRIPT, script
from tests.evidence.written_chain import NETWORK
from tests.ledger.authorities import Member


def _metadata(*signers: Member, texts: Sequence[bytes] = ()) -> bytes:
    """Return the signatures of a block without header bytes; `texts` replaces the signers' PEM."""
    pems = texts or [signer.pem for signer in signers]
    signatures = []
    for number, (signer, pem) in enumerate(zip(signers, pems, strict=True)):
        identity = SerializedIdentity(mspid=NAME.decode(), id_bytes=pem).SerializeToString()
        header = SignatureHeader(creator=identity, nonce=bytes([number])).SerializeToString()
        signature = signer.sign(b"value" + header + b"header")
        signatures.append(MetadataSignature(signature_header=header, signature=signature))
    return Metadata(value=b"value", signatures=signatures).SerializeToString()


def test_an_orderer_who_signs_twice_counts_once() -> None:
    config = script()["Config"].__new__(script()["Config"])
    config.msps, config.is_v3, config.nodes = {NAME: PLAIN.SerializeToString()}, False, {}
    config.orderer = group_of(signature_policy_of(2, MEMBER, MEMBER)).SerializeToString()

    def check(signatures: bytes) -> None:
        block = SimpleNamespace(signatures=signatures, header=b"header")
        config.check(block)

    check(_metadata(A, B))
    check(_metadata(A, A, B))
    for repeated in (
        _metadata(A, A),
        _metadata(A, A, texts=[A.pem, b"x\n" + A.pem]),
        _metadata(A, A, texts=[A.pem, _with_other_s(A)]),
    ):
        with pytest.raises(ValueError, match="not signed"):
            check(repeated)


def _with_other_s(member: Member) -> bytes:
    """Return the PEM of the same certificate with the other of the two S of its signature."""
    der = member.certificate.public_bytes(Encoding.DER)
    r, s = decode_dss_signature(member.certificate.signature)
    other = encode_dss_signature(r, ec.SECP256R1().group_order - s)
    body = member.certificate.tbs_certificate_bytes
    rest = der[der.index(body) + len(body) :]
    algorithm = rest[: 2 + rest[1]]
    content = body + algorithm + bytes((3, len(other) + 1, 0)) + other
    whole = b"\x30\x82" + len(content).to_bytes(2, "big") + content
    return x509.load_der_x509_certificate(whole).public_bytes(Encoding.PEM)


def _config_envelope(header_type: int = CONFIG, *rules: str) -> bytes:
    """Return a genesis envelope with this type and these capabilities of the channel."""
    group = channel_group(NETWORK)
    if rules:
        names = Capabilities(capabilities={rule: Capability() for rule in rules})
        group.values["Capabilities"].value = names.SerializeToString()
    envelope = Envelope.FromString(genesis_envelope(NETWORK, Config(channel_group=group), 0))
    payload = Payload.FromString(envelope.payload)
    header = ChannelHeader.FromString(payload.header.channel_header)
    header.type = header_type
    payload.header.channel_header = header.SerializeToString()
    return Envelope(payload=payload.SerializeToString()).SerializeToString()


def test_only_a_config_block_with_known_rules_establishes_a_configuration() -> None:
    def configuration(*envelopes: bytes) -> Any:
        return script()["Config"](SimpleNamespace(envelopes=envelopes, number=0))

    usual = _config_envelope()
    assert not configuration(usual).is_v3
    assert configuration(_config_envelope(CONFIG, "V2_0", "V3_0")).is_v3
    for refused in (
        [usual, usual],
        [_config_envelope(ENDORSER_TRANSACTION)],
        [_config_envelope(CONFIG, "V1_1")],
        [_config_envelope(CONFIG, "V1_4_2")],
        [],
    ):
        with pytest.raises((ValueError, KeyError, TypeError)):
            configuration(*refused)


def test_ed25519_and_numbers_of_orderers_need_the_rules_of_fabric_3() -> None:
    signer = ROOT.issue(key=ED25519)
    config = SimpleNamespace(msps={NAME: PLAIN.SerializeToString()}, is_v3=False)
    with pytest.raises((AttributeError, ValueError)):  # it is read as one of ECDSA
        script()["Config"].member(config, signer.serialized(), MESSAGE, signer.sign(MESSAGE))
    blocks = recorded_ledger("bft-3.1").blocks
    assert script()["Config"](script()["_Block"](blocks[0])).nodes.keys() == {1, 2, 3, 4}
    changed = blocks[0].replace(b"V3_0", b"V2_0")
    old = SimpleNamespace(envelopes=Block.FromString(changed).data.data, number=0)
    assert script()["Config"](old).nodes == {}


def test_the_script_is_short_and_imports_nothing_of_the_project() -> None:
    text = SCRIPT.read_text()
    assert len(text.splitlines()) <= 250
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
    packages = {name.split(".")[0] for name in imported}
    assert packages - sys.stdlib_module_names == {"cryptography"}
