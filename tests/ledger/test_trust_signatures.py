"""Signatures of members are good exactly when a peer of Fabric accepts them."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from ledger.trust.keys import order_of
from ledger.trust.msp import Msp, MspVersion
from ledger.trust.signers import Signed, find_signers
from tests.ledger.authorities import SHA3, Authority, Member, fault, msp, msp_config
from tests.ledger.trusted_chain import flipped

ROOT = Authority()
V1_4_3, V3_0 = MspVersion.V1_4_3, MspVersion.V3_0


def _signs(member: Member, signature: bytes, organisation: Msp | None = None) -> bool:
    signed = Signed(member.serialized(), b"message", signature)
    return bool(find_signers({"Org1MSP": organisation or msp(msp_config(ROOT))}, [signed]).members)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_only_the_low_s_is_a_signature(curve: ec.EllipticCurve) -> None:
    member = ROOT.issue(key=ec.generate_private_key(curve))
    low = member.sign(b"message")
    r, s = decode_dss_signature(low)
    order = order_of(member.key.public_key())
    assert order is not None
    high = encode_dss_signature(r, order - s)
    member.key.public_key().verify(high, b"message", ec.ECDSA(SHA256()))
    assert _signs(member, low)
    assert not _signs(member, high)
    assert not _signs(member, member.sign(b"another message"))
    assert not _signs(member, encode_dss_signature(r, 0))
    assert not _signs(member, b"")
    # Go's ASN.1 library, by which Fabric reads signatures, ignores what follows them.
    assert _signs(member, low + b"rest")
    assert not _signs(member, low[:-1])


def test_every_flipped_bit_of_a_signature_is_found() -> None:
    member = ROOT.issue()
    signature = member.sign(b"message")
    for bit in range(8 * len(signature)):
        assert not _signs(member, flipped(signature, bit))


def test_keys_by_the_capabilities_and_the_crypto_configuration() -> None:
    member = ROOT.issue(key=ed25519.Ed25519PrivateKey.generate())
    signature = member.sign(b"message")
    assert not _signs(member, signature)
    assert _signs(member, signature, msp(msp_config(ROOT), V3_0))
    assert not _signs(member, flipped(signature, 9), msp(msp_config(ROOT), V3_0))
    unusual = Authority(key=ed25519.Ed25519PrivateKey.generate())
    assert _signs(*_signed(unusual.issue()), msp(msp_config(unusual)))
    rsa_authority = Authority(key=rsa.generate_private_key(65537, 2048))
    assert _signs(*_signed(rsa_authority.issue()), msp(msp_config(rsa_authority)))
    with_rsa = ROOT.issue(key=rsa.generate_private_key(65537, 2048))
    assert not _signs(with_rsa, b"x")
    with_unknown_curve = ROOT.issue(key=ec.generate_private_key(ec.SECP256K1()))
    assert not _signs(with_unknown_curve, b"x")
    sha3 = msp(msp_config(ROOT, family="SHA3"))
    plain = ROOT.issue()
    assert _signs(plain, plain.sign(b"message", SHA3), sha3)
    assert not _signs(plain, plain.sign(b"message"), sha3)
    assert not _signs(plain, plain.sign(b"message", SHA3))
    assert "unknown hash" in fault(msp_config(ROOT, family="MD5"))


def _signed(member: Member) -> tuple[Member, bytes]:
    return member, member.sign(b"message")


def test_one_certificate_in_two_forms_is_one_identity() -> None:
    member = ROOT.issue()
    der = member.certificate.public_bytes(Encoding.DER)
    r, s = decode_dss_signature(member.certificate.signature)
    order = order_of(ROOT.key.public_key())
    assert order is not None
    other = encode_dss_signature(r, order - s)
    head = member.certificate.tbs_certificate_bytes
    body = der[der.index(head) : -len(member.certificate.signature) - 3]
    bits = b"\x03" + bytes((len(other) + 1,)) + b"\0" + other
    content = body + bits
    changed = b"\x30\x82" + len(content).to_bytes(2, "big") + content
    twin = Member(x509.load_der_x509_certificate(changed), member.key)
    assert twin.pem != member.pem
    signature = member.sign(b"m")
    signed = [Signed(m.serialized(), b"m", signature) for m in (member, twin, member)]
    found = find_signers({"Org1MSP": msp(msp_config(ROOT))}, signed)
    assert len(found.members) == 1
    assert len(find_signers({"Org1MSP": msp(msp_config(ROOT))}, signed[1:2]).members) == 1
