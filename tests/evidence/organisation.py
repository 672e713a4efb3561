"""An organisation whose members sign, and policies that name them."""

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519

from devnet.forge.genesis import signature_policy
from protos.configuration_pb2 import (
    ConfigGroup,
    ImplicitMetaPolicy,
    MSPPrincipal,
    MSPRole,
    Policy,
    SignaturePolicy,
    SignaturePolicyEnvelope,
)
from tests.ledger.authorities import Authority, Member, msp_config

CA = [(x509.KeyUsage(*[index == 5 for index in range(9)]), True)]  # key_cert_sign
MESSAGE = b"message"
NAME = b"Org1MSP"


def root(name: str = "ca.org1", issuer: Authority | None = None, **options: Any) -> Authority:
    return Authority(name, issuer, extensions=CA, **options)


ROOT = root()
OTHER = root("ca.org2")
INNER = root("ica", ROOT)
INNER2 = root("ica2", ROOT)
SHORT = root("short", path_length=0)
BELOW = root("below", SHORT)
NO_SIGNING = Authority("mute", extensions=[(x509.KeyUsage(*[True] + [False] * 8), True)])
CRITICAL = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
ED25519 = ed25519.Ed25519PrivateKey.generate()

PLAIN = msp_config(ROOT)


def role_of(role: int) -> MSPRole:
    return MSPRole(msp_identifier=NAME.decode(), role=role)  # type: ignore[arg-type]


def signature_policy_of(n: int, *roles: int) -> Policy:
    envelope = signature_policy(n, [role_of(role) for role in roles])
    return Policy(type=Policy.SIGNATURE, value=envelope.SerializeToString())


def identities_of(n: int, *members: Member) -> Policy:
    rules = [SignaturePolicy(signed_by=index) for index in range(len(members))]
    envelope = SignaturePolicyEnvelope(
        rule=SignaturePolicy(n_out_of=SignaturePolicy.NOutOf(n=n, rules=rules)),
        identities=[
            MSPPrincipal(
                principal_classification=MSPPrincipal.IDENTITY, principal=member.serialized()
            )
            for member in members
        ],
    )
    return Policy(type=Policy.SIGNATURE, value=envelope.SerializeToString())


def implicit_of(rule: ImplicitMetaPolicy.Rule.ValueType) -> Policy:
    implicit = ImplicitMetaPolicy(sub_policy="Writers", rule=rule)
    return Policy(type=Policy.IMPLICIT_META, value=implicit.SerializeToString())


def group_of(policy: Policy, *members: Policy) -> ConfigGroup:
    """Return an ordering group with this policy for blocks, and organisations with these ones."""
    group = ConfigGroup()
    group.policies["BlockValidation"].policy.CopyFrom(policy)
    for number, each in enumerate(members):
        group.groups[f"Org{number}"].policies["Writers"].policy.CopyFrom(each)
    return group


MEMBER, ADMIN, CLIENT, PEER, ORDERER = range(5)
A, B, C = (ROOT.issue([unit]) for unit in ("orderer", "orderer", "admin"))
