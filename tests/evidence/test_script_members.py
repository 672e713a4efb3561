"""docs/evidence/verify.py accepts no signer whom the project refuses."""

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID

from ledger.trust.msp import MspVersion, set_up_msp
from ledger.trust.signers import Signed, find_signers
from protos.msp_pb2 import FabricMSPConfig, FabricOUIdentifier
from tests.evidence.organisation import (
    BELOW,
    CRITICAL,
    ED25519,
    INNER,
    INNER2,
    MESSAGE,
    NAME,
    NO_SIGNING,
    OTHER,
    PLAIN,
    ROOT,
    SHORT,
    root,
)
from tests.evidence.script import script
from tests.ledger.authorities import Authority, Member, msp_config


def usage(use: x509.ObjectIdentifier) -> Sequence[tuple[x509.ExtensionType, bool]]:
    return [(x509.ExtendedKeyUsage([use]), False)]


def high_s(member: Member) -> bytes:
    r, s = decode_dss_signature(member.sign(MESSAGE))
    return encode_dss_signature(r, ec.SECP256R1().group_order - s)


def owned_units(authority: Authority) -> FabricMSPConfig:
    """Return an MSP whose units must come from one of its intermediate authorities."""
    config = msp_config(ROOT, intermediates=[INNER, INNER2])
    for unit in ("client", "peer", "admin", "orderer"):
        getattr(config.fabric_node_ous, f"{unit}_ou_identifier").certificate = authority.pem
    return config


def demanded_unit() -> FabricMSPConfig:
    config = msp_config(ROOT)
    config.organizational_unit_identifiers.append(
        FabricOUIdentifier(certificate=ROOT.pem, organizational_unit_identifier="sales")
    )
    return config


NO_UNITS = msp_config(ROOT, node_units=False, admins=[ROOT.issue(["admin"])])
Case = tuple[FabricMSPConfig, Member, bytes | None, bool]
"""An MSP, a signer, a signature (None: a good one), and whether the script must accept it."""

CASES: dict[str, Case] = {
    "a peer": (PLAIN, ROOT.issue(), None, True),
    "a client with another unit": (PLAIN, ROOT.issue(["client", "sales"]), None, True),
    "no unit": (PLAIN, ROOT.issue([]), None, False),
    "two units": (PLAIN, ROOT.issue(["client", "peer"]), None, False),
    "no node units": (NO_UNITS, ROOT.issue([]), None, True),
    "P-384": (PLAIN, ROOT.issue(key=ec.generate_private_key(ec.SECP384R1())), None, True),
    "P-521": (PLAIN, ROOT.issue(key=ec.generate_private_key(ec.SECP521R1())), None, False),
    "Ed25519": (PLAIN, ROOT.issue(key=ED25519), None, True),
    "below an intermediate": (msp_config(ROOT, intermediates=[INNER]), INNER.issue(), None, True),
    "beside an intermediate": (msp_config(ROOT, intermediates=[INNER]), ROOT.issue(), None, False),
    "an unknown intermediate": (PLAIN, INNER.issue(), None, False),
    "another root": (PLAIN, OTHER.issue(), None, False),
    "a root of the same name": (PLAIN, root().issue(), None, False),
    "the root": (PLAIN, ROOT, None, False),
    "an authority": (msp_config(ROOT, intermediates=[INNER]), INNER, None, False),
    "too long a chain": (msp_config(SHORT, intermediates=[BELOW]), BELOW.issue(), None, False),
    "a mute authority": (msp_config(NO_SIGNING), NO_SIGNING.issue(), None, False),
    "a critical extension": (PLAIN, ROOT.issue(extensions=[CRITICAL]), None, False),
    "a server": (PLAIN, ROOT.issue(extensions=usage(ExtendedKeyUsageOID.SERVER_AUTH)), None, True),
    "only a TLS client": (
        PLAIN,
        ROOT.issue(extensions=usage(ExtendedKeyUsageOID.CLIENT_AUTH)),
        None,
        False,
    ),
    "an authority with a role": (msp_config(ROOT), root("ica2", ROOT, units=["peer"]), None, False),
    "units of the right authority": (owned_units(INNER), INNER.issue(), None, True),
    "units of another authority": (owned_units(INNER2), INNER.issue(), None, False),
    "a revocation list": (
        msp_config(ROOT, revocations=[ROOT.revoke(ROOT.issue())]),
        ROOT.issue(),
        None,
        False,
    ),
    "a demanded unit": (demanded_unit(), ROOT.issue(["peer", "sales"]), None, False),
    "SHA-3": (msp_config(ROOT, family="SHA3"), ROOT.issue(), None, False),
    "two roots of one name": (msp_config(ROOT, root()), ROOT.issue(), None, False),
    "an empty signature": (PLAIN, ROOT.issue(), b"", False),
    "a signature of another": (PLAIN, ROOT.issue(), ROOT.issue().sign(MESSAGE), False),
}
SIGNER = ROOT.issue()
CASES["a high S"] = (PLAIN, SIGNER, high_s(SIGNER), False)


def accepts(config: FabricMSPConfig, signer: Member, signature: bytes) -> bool:
    """Return whether the script accepts a member's signature."""
    fields = {"msps": {NAME: config.SerializeToString()}, "is_v3": True}
    try:
        script()["Config"].member(
            SimpleNamespace(**fields), signer.serialized(), MESSAGE, signature
        )
    except Exception:  # noqa: BLE001 - as in the script
        return False
    return True


def is_member(config: FabricMSPConfig, signer: Member, signature: bytes) -> bool:
    """Return whether the project accepts a member's signature."""
    msp = set_up_msp(config.SerializeToString(), MspVersion.V3_0)
    signed = Signed(signer.serialized(), MESSAGE, signature)
    return bool(find_signers({NAME.decode(): msp}, [signed]).members)


@pytest.mark.parametrize("name", CASES)
def test_a_signer_is_accepted_only_if_the_project_accepts_it(name: str) -> None:
    config, signer, given, expected = CASES[name]
    signature = signer.sign(MESSAGE, SHA256()) if given is None else given
    assert accepts(config, signer, signature) is expected
    if expected:
        assert is_member(config, signer, signature)
