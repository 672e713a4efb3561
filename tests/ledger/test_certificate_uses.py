"""Which certificates count as signers of a block, and under which fingerprint."""

from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding

from ledger.trust.certificate_uses import read_facts
from ledger.trust.keys import order_of
from ledger.trust.signers import Signed, find_signers
from protos.msp_pb2 import SerializedIdentity
from tests.ledger.authorities import Authority, msp, msp_config

ROOT = Authority()


def der(tag: int, content: bytes) -> bytes:
    size = len(content).to_bytes(2, "big").lstrip(b"\0")
    length = bytes((len(content),)) if len(content) < 0x80 else bytes((0x80 | len(size),)) + size
    return bytes((tag,)) + length + content


def with_signature(certificate: x509.Certificate, signature: bytes) -> bytes:
    """Return the certificate (DER) with another signature of its authority."""
    whole, content = certificate.public_bytes(Encoding.DER), certificate.tbs_certificate_bytes
    start = whole.index(content) + len(content)
    algorithm = whole[start : start + 2 + whole[start + 1]]
    return der(0x30, content + algorithm + der(0x03, b"\0" + signature))


def test_a_certificate_counts_in_two_forms_and_no_other() -> None:
    """A client chooses the form, so it cannot fill the inventory with forms of one certificate."""
    member = ROOT.issue()
    r, s = decode_dss_signature(member.certificate.signature)
    order = order_of(ROOT.key.public_key())
    assert order is not None
    low, high = (encode_dss_signature(r, f(s, order - s)) for f in (min, max))
    forms = [with_signature(member.certificate, each) for each in (low, high)]
    others = [low + b"rest", der(0x30, low[2:] + b"\x02\x01\x01"), high + b"\0"]
    found = set()
    for form in (*forms, *(with_signature(member.certificate, each) for each in others)):
        pem = x509.load_der_x509_certificate(form).public_bytes(Encoding.PEM)
        identity = SerializedIdentity(mspid="Org1MSP", id_bytes=pem).SerializeToString()
        signed = Signed(identity, b"message", member.sign(b"message"))
        organisation = msp(msp_config(ROOT))
        for signer in find_signers({"Org1MSP": organisation}, [signed]).members:
            found.add(read_facts(signer.identity.member.der).fingerprint)
    assert found == {sha256(form).hexdigest() for form in forms}
