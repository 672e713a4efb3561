"""Identities are valid exactly when a peer of Fabric accepts them (msp/mspimpl*.go)."""

import base64
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from ledger.trust.keys import order_of
from ledger.trust.limits import MAX_MSP_CERTIFICATES
from ledger.trust.msp import Msp, MspVersion, set_up_msp
from ledger.trust.msp_identity import MspIdentity
from ledger.trust.principals import satisfies
from ledger.trust.signers import Signed, find_signers
from ledger.trust.verdicts import RefusedError
from protos.configuration_pb2 import (
    CombinedPrincipal,
    MSPIdentityAnonymity,
    MSPPrincipal,
    MSPRole,
    OrganizationUnit,
)
from protos.msp_pb2 import FabricMSPConfig, SerializedIdentity
from tests.ledger.authorities import END, SHA3, START, Authority, Member, msp_config
from tests.ledger.trusted_chain import flipped

ROOT = Authority()
V1_4_3, V3_0 = MspVersion.V1_4_3, MspVersion.V3_0


def msp(config: FabricMSPConfig, version: MspVersion = V1_4_3) -> Msp:
    found = set_up_msp(config.SerializeToString(), version)
    assert isinstance(found, Msp), found
    return found


def refusal(member: Member, organisation: Msp | None = None) -> str | None:
    """Return why a member is no valid identity, or None."""
    try:
        return (organisation or msp(msp_config(ROOT))).identity(member.pem).refusal
    except RefusedError as error:
        return str(error)


def fault(config: FabricMSPConfig, version: MspVersion = V1_4_3) -> str:
    """Return why an MSP cannot be used."""
    found = set_up_msp(config.SerializeToString(), version)
    assert isinstance(found, str)
    return found


def test_a_member_of_the_authority_is_valid() -> None:
    assert refusal(ROOT.issue()) is None


def test_members_of_other_authorities_are_not_valid() -> None:
    impostor = Authority()  # the same name, another key
    assert "no valid chain" in (refusal(impostor.issue()) or "")
    assert "no valid chain" in (refusal(Authority("other").issue()) or "")
    assert "no valid chain" in (refusal(ROOT.issue().__class__(impostor.certificate, None)) or "")


def test_no_flipped_bit_of_a_certificate_is_valid() -> None:
    organisation, member = msp(msp_config(ROOT)), ROOT.issue()
    der = member.certificate.public_bytes(Encoding.DER)
    message, signature = b"m", member.sign(b"m")
    for bit in range(8 * len(der)):
        text = base64.encodebytes(flipped(der, bit))
        pem = b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n"
        identity = SerializedIdentity(mspid="Org1MSP", id_bytes=pem).SerializeToString()
        found = find_signers({"Org1MSP": organisation}, [Signed(identity, message, signature)])
        assert not found.members, bit


def test_time_counts_as_peers_count_it() -> None:
    # A peer verifies a chain at the first second of the certificate, whatever the block's time is.
    expired = ROOT.issue(end=START + timedelta(days=1))
    assert refusal(expired) is None
    identity = msp(msp_config(ROOT)).identity(expired.pem)
    assert identity.is_outside_validity(START + timedelta(days=2))
    assert not identity.is_outside_validity(START + timedelta(hours=2))
    late = ROOT.issue(start=END + timedelta(days=1), end=END + timedelta(days=9))
    assert "no valid chain" in (refusal(late) or "")
    early = ROOT.issue(start=START - timedelta(days=9))
    assert "no valid chain" in (refusal(early) or "")
    # An expired root stays a root for what it issued before.
    old = Authority(end=START + timedelta(days=1))
    assert refusal(old.issue(), msp(msp_config(old))) is None


def test_intermediates_extend_the_chain() -> None:
    inner = Authority("ica1", ROOT)
    outer = Authority("ica2", inner)
    organisation = msp(msp_config(ROOT, intermediates=[inner, outer]))
    assert refusal(outer.issue(), organisation) is None
    # Only the last authorities of a tree issue identities.
    for authority in (inner, ROOT):
        assert "above other authorities" in (refusal(authority.issue(), organisation) or "")
    assert "no valid chain" in (refusal(outer.issue(), msp(msp_config(ROOT))) or "")
    for length, valid in ((1, True), (0, False)):
        short = Authority(path_length=length)
        below = Authority("ica", short)
        config = msp_config(short, intermediates=[below])
        assert refusal(short.issue(), msp(msp_config(short))) is None
        assert (refusal(below.issue(), msp(config)) is None) is valid


def test_two_chains_are_one_too_many() -> None:
    inner = Authority("ica1", ROOT)
    both = msp_config(ROOT, inner, intermediates=[inner])
    assert "2 chains" in (refusal(inner.issue(), Msp(both, V1_4_3)) or "") or "chain" in fault(both)


def test_an_authority_is_no_identity() -> None:
    assert "authority" in (refusal(ROOT) or "")
    inner = Authority("ica1", ROOT)
    assert "authority" in (refusal(inner, msp(msp_config(ROOT, intermediates=[inner]))) or "")


def test_extensions_count_as_in_gos_library() -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    assert refusal(ROOT.issue(extensions=[(unknown, False)])) is None
    assert "no valid chain" in (refusal(ROOT.issue(extensions=[(unknown, True)])) or "")
    for usage, valid in (
        (ExtendedKeyUsageOID.SERVER_AUTH, True),
        (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, True),
        (ExtendedKeyUsageOID.CLIENT_AUTH, False),
    ):
        member = ROOT.issue(extensions=[(x509.ExtendedKeyUsage([usage]), False)])
        assert (refusal(member) is None) is valid
    no_issuing = x509.KeyUsage(*[True] + [False] * 8)
    mute = Authority(extensions=[(no_issuing, True)])
    assert "no valid chain" in (refusal(mute.issue(), msp(msp_config(mute))) or "")


def test_revoked_certificates_are_not_valid() -> None:
    member, other = ROOT.issue(), ROOT.issue()
    organisation = msp(msp_config(ROOT, revocations=[ROOT.revoke(member)]))
    assert refusal(member, organisation) == "the certificate is revoked"
    assert refusal(other, organisation) is None
    forged = ROOT.revoke(member, signed_by=Authority())
    assert refusal(member, msp(msp_config(ROOT, revocations=[forged]))) is None
    elsewhere = Authority("other").revoke(member)
    assert refusal(member, msp(msp_config(ROOT, revocations=[elsewhere]))) is None
    inner = Authority("ica1", ROOT)
    revoked = msp_config(ROOT, intermediates=[inner], revocations=[ROOT.revoke(inner)])
    assert fault(revoked) == "the certificate is revoked"


def test_exactly_one_node_unit_is_demanded() -> None:
    for units, valid in (
        (["peer"], True),
        (["client", "sales"], True),
        ([], False),
        (["sales"], False),
        (["peer", "client"], False),
    ):
        assert (refusal(ROOT.issue(units=units)) is None) is valid, units
        assert refusal(ROOT.issue(units=units), msp(_plain())) is None
    other = Authority("other")
    config = msp_config(ROOT, other)
    config.fabric_node_ous.peer_ou_identifier.certificate = ROOT.pem
    assert refusal(ROOT.issue(), msp(config)) is None
    assert "another authority" in (refusal(other.issue(), msp(config)) or "")
    config.fabric_node_ous.peer_ou_identifier.certificate = Authority().pem
    assert "certificate" in fault(config)


def test_units_of_an_msp_are_demanded() -> None:
    config = msp_config(ROOT)
    config.organizational_unit_identifiers.add(
        certificate=ROOT.pem, organizational_unit_identifier="sales"
    )
    assert refusal(ROOT.issue(units=["peer", "sales"]), msp(config)) is None
    assert "none of the certificate's" in (refusal(ROOT.issue(units=["peer"]), msp(config)) or "")


def _plain() -> FabricMSPConfig:
    return msp_config(ROOT, node_units=False, admins=[ROOT.issue(name="admin")])


def _role(role: MSPRole.MSPRoleType.ValueType, msp_id: str = "Org1MSP") -> MSPPrincipal:
    message = MSPRole(msp_identifier=msp_id, role=role)
    return MSPPrincipal(
        principal_classification=MSPPrincipal.ROLE, principal=message.SerializeToString()
    )


def _satisfies(principal: MSPPrincipal, member: Member, organisation: Msp | None = None) -> bool:
    own = organisation or msp(msp_config(ROOT))
    identity: MspIdentity = own.identity(member.pem)
    return satisfies(own, identity, (principal.principal_classification, principal.principal))


@pytest.mark.parametrize("version", [MspVersion.V1_1, MspVersion.V1_3, V1_4_3, V3_0])
def test_roles_follow_from_units_by_the_version(version: MspVersion) -> None:
    modern = version >= V1_4_3
    organisation = msp(msp_config(ROOT), version)
    for unit in ("client", "peer", "admin", "orderer"):
        member = ROOT.issue(units=[unit])
        found = {
            name
            for name, role in MSPRole.MSPRoleType.items()
            if _satisfies(_role(role), member, organisation)
        }
        known = modern or unit in ("client", "peer")
        assert found == ({"MEMBER", unit.upper()} if known else set())
        assert not _satisfies(_role(MSPRole.MEMBER, "Org2MSP"), member, organisation)


def test_listed_administrators_are_administrators() -> None:
    admin, client = ROOT.issue(units=["client"]), ROOT.issue(units=["client"])
    for units in (True, False):
        organisation = msp(msp_config(ROOT, admins=[admin], node_units=units))
        assert _satisfies(_role(MSPRole.ADMIN), admin, organisation)
        assert not _satisfies(_role(MSPRole.ADMIN), client, organisation)
        assert _satisfies(_role(MSPRole.CLIENT), client, organisation) is units
        assert not _satisfies(_role(MSPRole.ORDERER), client, organisation)
    assert "neither client nor administrator" in fault(msp_config(ROOT, admins=[ROOT.issue()]))
    foreign = Authority("other").issue(units=["admin"])
    assert "no valid chain" in fault(msp_config(ROOT, admins=[foreign]))
    assert "no administrators" in fault(msp_config(ROOT, node_units=False))


def test_principals_of_other_kinds() -> None:
    member, other = ROOT.issue(units=["peer", "sales"]), ROOT.issue()

    def principal(kind: MSPPrincipal.Classification.ValueType, data: bytes) -> MSPPrincipal:
        return MSPPrincipal(principal_classification=kind, principal=data)

    path = dict(msp(msp_config(ROOT)).identity(member.pem).units)["sales"]
    unit = OrganizationUnit(
        msp_identifier="Org1MSP", organizational_unit_identifier="sales", certifiers_identifier=path
    )
    sales = principal(MSPPrincipal.ORGANIZATION_UNIT, unit.SerializeToString())
    identity = principal(MSPPrincipal.IDENTITY, member.serialized())
    foreign = principal(MSPPrincipal.IDENTITY, member.serialized("Org2MSP"))
    for asked, by_member, by_other in (
        (sales, True, False),
        (identity, True, False),
        (foreign, False, False),
        (_combined(identity, sales, _role(MSPRole.PEER)), True, False),
        (_combined(identity, _role(MSPRole.CLIENT)), False, False),
        (_combined(), False, False),
        (principal(MSPPrincipal.ANONYMITY, b""), True, True),
        (principal(MSPPrincipal.ANONYMITY, _ANONYMOUS), False, False),
        (principal(MSPPrincipal.ROLE, b"\xff"), False, False),
    ):
        assert (_satisfies(asked, member), _satisfies(asked, other)) == (by_member, by_other)
    unit.certifiers_identifier = b"another authority"
    assert not _satisfies(
        principal(MSPPrincipal.ORGANIZATION_UNIT, unit.SerializeToString()), member
    )


_ANONYMOUS = MSPIdentityAnonymity(anonymity_type=MSPIdentityAnonymity.ANONYMOUS).SerializeToString()


def _combined(*parts: MSPPrincipal) -> MSPPrincipal:
    return MSPPrincipal(
        principal_classification=MSPPrincipal.COMBINED,
        principal=CombinedPrincipal(principals=parts).SerializeToString(),
    )


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


def test_msps_that_cannot_be_used_say_why() -> None:
    leaf = ROOT.issue()
    for config, words in (
        (FabricMSPConfig(name="Org1MSP"), "no root certificate"),
        (msp_config(leaf), "no authority"),
        (msp_config(Authority(key_identifier=False)), "no key identifier"),
        (msp_config(ROOT, intermediates=[Authority("lost", Authority("lost root"))]), "no valid"),
        (msp_config(*[ROOT] * (MAX_MSP_CERTIFICATES + 1)), "more than 1000 certificates"),
        (msp_config(ROOT, revocations=[b"garbage"]), "revocation list cannot be parsed"),
        (FabricMSPConfig(name="Org1MSP", root_certs=[b"garbage"]), "no PEM text"),
        (FabricMSPConfig(name="Org1MSP", root_certs=[b"x" * 100_000]), "is longer than"),
    ):
        assert words in fault(config)
    assert "cannot be parsed" in str(set_up_msp(b"\xff", V1_4_3))
