"""docs/evidence/verify.py satisfies no policy with signers who do not satisfy it."""

from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from ledger.trust.msp import MspVersion, set_up_msp
from ledger.trust.policies import ChannelPolicies
from ledger.trust.signers import Signed, find_signers
from ledger.trust.verdicts import UncheckedError
from protos.configuration_pb2 import (
    ConfigGroup,
    ImplicitMetaPolicy,
    MSPPrincipal,
    Policy,
    SignaturePolicy,
    SignaturePolicyEnvelope,
)
from tests.evidence.organisation import (
    ADMIN,
    MEMBER,
    MESSAGE,
    NAME,
    ORDERER,
    PLAIN,
    A,
    B,
    C,
    group_of,
    identities_of,
    implicit_of,
    role_of,
    signature_policy_of,
)
from tests.evidence.script import script
from tests.ledger.authorities import Member

WRITERS = signature_policy_of(1, MEMBER)
ADMINS = signature_policy_of(1, ADMIN)
NESTED = SignaturePolicyEnvelope(
    rule=SignaturePolicy(
        n_out_of=SignaturePolicy.NOutOf(
            n=1,
            rules=[
                SignaturePolicy(
                    n_out_of=SignaturePolicy.NOutOf(n=1, rules=[SignaturePolicy(signed_by=0)])
                )
            ],
        )
    ),
    identities=[MSPPrincipal(principal=role_of(MEMBER).SerializeToString())],
)
POLICIES: dict[str, tuple[ConfigGroup, Sequence[Member], bool]] = {
    "a member": (group_of(WRITERS), [A], True),
    "nobody": (group_of(WRITERS), [], False),
    "two members": (group_of(signature_policy_of(2, MEMBER, MEMBER)), [A, B], True),
    "one member twice": (group_of(signature_policy_of(2, MEMBER, MEMBER)), [A, A], False),
    "a role": (group_of(ADMINS), [C], True),
    "another role": (group_of(ADMINS), [A], False),
    "orderers": (group_of(signature_policy_of(2, ORDERER, ORDERER)), [A, B, C], True),
    "too few orderers": (group_of(signature_policy_of(2, ORDERER, ORDERER)), [A, C], False),
    "no signature is needed": (group_of(signature_policy_of(0, MEMBER)), [A], False),
    "identities": (group_of(identities_of(2, A, B, C)), [A, C], True),
    "identities in another order": (group_of(identities_of(2, C, A)), [A, C], True),
    "too few identities": (group_of(identities_of(2, A, B)), [A, C], False),
    "any": (group_of(implicit_of(ImplicitMetaPolicy.ANY), ADMINS, WRITERS), [A], True),
    "all": (group_of(implicit_of(ImplicitMetaPolicy.ALL), WRITERS, WRITERS), [A], True),
    "not all": (group_of(implicit_of(ImplicitMetaPolicy.ALL), ADMINS, WRITERS), [A], False),
    "a majority": (
        group_of(implicit_of(ImplicitMetaPolicy.MAJORITY), ADMINS, WRITERS, WRITERS),
        [A],
        True,
    ),
    "half": (group_of(implicit_of(ImplicitMetaPolicy.MAJORITY), ADMINS, WRITERS), [A], False),
    "no organisation": (group_of(implicit_of(ImplicitMetaPolicy.ALL)), [A], False),
    "nested rules": (
        group_of(Policy(type=Policy.SIGNATURE, value=NESTED.SerializeToString())),
        [A],
        False,
    ),
    "an unknown kind": (group_of(Policy(type=Policy.MSP)), [A], False),
}


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_satisfied_only_if_the_project_says_so(name: str) -> None:
    group, signers, expected = POLICIES[name]
    config = SimpleNamespace(msps={NAME: PLAIN.SerializeToString()}, is_v3=True)
    principals = {}
    for signer in signers:
        _, _, satisfied = script()["Config"].member(
            config, signer.serialized(), MESSAGE, signer.sign(MESSAGE)
        )
        principals[signer.pem] = satisfied
    try:
        found = script()["is_satisfied"](
            group.SerializeToString(), "BlockValidation", [*principals.values()]
        )
    except Exception:  # noqa: BLE001 - as in the script
        found = False
    assert found is expected
    if expected:
        assert _is_satisfied(group, signers)


def _is_satisfied(group: ConfigGroup, signers: Sequence[Member]) -> bool:
    channel = ConfigGroup()
    channel.groups["Orderer"].CopyFrom(group)
    msp = set_up_msp(PLAIN.SerializeToString(), MspVersion.V3_0)
    signed = [Signed(each.serialized(), MESSAGE, each.sign(MESSAGE)) for each in signers]
    found = find_signers({NAME.decode(): msp}, signed)
    try:
        return ChannelPolicies(channel).is_satisfied("/Channel/Orderer/BlockValidation", found)
    except UncheckedError:
        return False
