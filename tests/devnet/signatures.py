"""Verifies signatures of a forged chain with the root certificates in its genesis block."""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from protos.common_pb2 import (
    Block,
    Envelope,
    Payload,
)
from protos.configuration_pb2 import ConfigEnvelope
from protos.msp_pb2 import SerializedIdentity

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def config_of(block: Block) -> ConfigEnvelope:
    return ConfigEnvelope.FromString(
        Payload.FromString(Envelope.FromString(block.data.data[0]).payload).data
    )


def verify(
    identity: bytes, signature: bytes, message: bytes, roots: dict[str, x509.Certificate]
) -> str:
    """Check certificate, signature and low S of a signer; return its MSP id."""
    member = SerializedIdentity.FromString(identity)
    certificate = x509.load_pem_x509_certificate(member.id_bytes)
    certificate.verify_directly_issued_by(roots[member.mspid])
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(signature, message, ec.ECDSA(SHA256()))
    assert decode_dss_signature(signature)[1] <= P256_ORDER // 2
    return member.mspid
