"""Identities are valid exactly when a peer of Fabric accepts them (msp/mspimpl*.go)."""

import base64
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from ledger.trust.limits import MAX_MSP_CERTIFICATES
from ledger.trust.msp import Msp, MspVersion, set_up_msp
from ledger.trust.signers import Signed, find_signers
from ledger.trust.verdicts import RefusedError
from protos.msp_pb2 import FabricMSPConfig, SerializedIdentity
from tests.ledger.authorities import END, START, Authority, Member, fault, msp, msp_config
from tests.ledger.trusted_chain import flipped

ROOT = Authority()
V1_4_3, V3_0 = MspVersion.V1_4_3, MspVersion.V3_0


def refusal(member: Member, organisation: Msp | None = None) -> str | None:
    """Return why a member is no valid identity, or None."""
    try:
        return (organisation or msp(msp_config(ROOT))).identity(member.pem).refusal
    except RefusedError as error:
        return str(error)


def test_a_member_of_the_authority_is_valid() -> None:
    assert refusal(ROOT.issue()) is None


def test_members_of_other_authorities_are_not_valid() -> None:
    impostor = Authority()  # the same name, another key
    assert "no valid chain" in (refusal(impostor.issue()) or "")
    assert "no valid chain" in (refusal(Authority("other").issue()) or "")
    assert "no valid chain" in (refusal(ROOT.issue().__class__(impostor.certificate, None)) or "")


def test_no_flipped_bit_of_a_certificate_is_valid() -> None:
    organisation = msp(msp_config(ROOT))
    # The last bit is 0, so that the number of unused bits can be changed to 1.
    issued = iter(ROOT.issue, None)
    member = next(m for m in issued if m.certificate.signature[-1] % 2 == 0)
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
