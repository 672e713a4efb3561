"""Policies are satisfied exactly when a peer of Fabric finds them satisfied."""

from collections.abc import Sequence

import pytest

from devnet.forge.genesis import signature_policy
from devnet.forge.identities import Signer
from devnet.forge.network import Network
from ledger.trust.channel_trust import ChannelTrust
from ledger.trust.policies import ChannelPolicies
from ledger.trust.signature_policies import Budget, compile_policy, is_satisfied
from ledger.trust.signers import Signed, Signers, find_signers
from ledger.trust.verdicts import UncheckedError
from protos.configuration_pb2 import (
    ConfigGroup,
    ConfigPolicy,
    ImplicitMetaPolicy,
    MSPPrincipal,
    MSPRole,
    Policy,
    SignaturePolicy,
    SignaturePolicyEnvelope,
)
from tests.ledger.trusted_chain import channel_trust

NETWORK = Network(seed=16, organisations=3)
ONE, TWO, THREE = NETWORK.organisations
TRUST: ChannelTrust = channel_trust(NETWORK)

_ANY, _ALL, _MAJORITY = ImplicitMetaPolicy.ANY, ImplicitMetaPolicy.ALL, ImplicitMetaPolicy.MAJORITY


def signers(*members: Signer) -> Signers:
    message = b"message"
    return find_signers(
        TRUST.msps, [Signed(m.serialized, message, m.sign(message)) for m in members]
    )


def by(index: int) -> SignaturePolicy:
    return SignaturePolicy(signed_by=index)


def out_of(n: int, *rules: SignaturePolicy) -> SignaturePolicy:
    return SignaturePolicy(n_out_of=SignaturePolicy.NOutOf(n=n, rules=rules))


def role(name: str, organisation: int) -> MSPPrincipal:
    message = MSPRole(msp_identifier=f"Org{organisation}MSP", role=MSPRole.MSPRoleType.Value(name))
    return MSPPrincipal(principal=message.SerializeToString())


PRINCIPALS = [role("PEER", 1), role("PEER", 2), role("MEMBER", 1), role("PEER", 3)]


def satisfied(rule: SignaturePolicy, *members: Signer) -> bool:
    envelope = SignaturePolicyEnvelope(rule=rule, identities=PRINCIPALS)
    compiled = compile_policy(envelope.SerializeToString())
    assert not isinstance(compiled, str), compiled
    return is_satisfied(compiled, signers(*members), Budget())


def test_a_threshold_is_reached_or_not() -> None:
    peers = [by(0), by(1), by(3)]
    members = [ONE.peer, TWO.peer, THREE.peer]
    for n in range(5):
        for count in range(4):
            assert satisfied(out_of(n, *peers), *members[:count]) is (count >= n)
    assert not satisfied(by(0), ONE.clients[0], TWO.peer)
    assert satisfied(by(0), TWO.peer, ONE.peer)


def test_an_identity_satisfies_one_rule_only() -> None:
    both = out_of(2, by(0), by(2))  # a peer and a member of the same organisation
    assert not satisfied(both, ONE.peer)
    assert not satisfied(both, ONE.peer, ONE.peer)
    assert satisfied(both, ONE.peer, ONE.clients[0])
    # Rules take signers in order and never give them back: a peer that the first rule took as
    # a member is missing for the second one. Fabric decides so too.
    assert not satisfied(out_of(2, by(2), by(0)), ONE.peer, ONE.clients[0])
    assert satisfied(out_of(2, by(2), by(0)), ONE.clients[0], ONE.peer)


def test_a_rule_that_fails_gives_its_signers_back() -> None:
    pair = out_of(2, by(0), by(1))
    assert satisfied(out_of(1, pair, by(0)), ONE.peer)
    assert not satisfied(out_of(2, pair, by(0)), ONE.peer, TWO.peer)
    assert satisfied(out_of(2, by(3), out_of(1, by(0), by(1))), TWO.peer, THREE.peer)


def _channel(
    rule: ImplicitMetaPolicy.Rule.ValueType, sub_policy: str = "Endorsement"
) -> ChannelPolicies:
    """Return the policies of a channel with the implicit policy `/Channel/Application/P`."""
    root = ConfigGroup()
    application = root.groups["Application"]
    for organisation in NETWORK.organisations:
        peers = signature_policy(
            1, [MSPRole(msp_identifier=organisation.mspid, role=MSPRole.PEER)]
        ).SerializeToString()
        application.groups[organisation.mspid].policies["Endorsement"].CopyFrom(
            ConfigPolicy(policy=Policy(type=Policy.SIGNATURE, value=peers))
        )
    application.policies["P"].CopyFrom(
        ConfigPolicy(
            policy=Policy(
                type=Policy.IMPLICIT_META,
                value=ImplicitMetaPolicy(rule=rule, sub_policy=sub_policy).SerializeToString(),
            )
        )
    )
    return ChannelPolicies(root)


@pytest.mark.parametrize(("rule", "needed"), [(_ANY, 1), (_MAJORITY, 2), (_ALL, 3)])
def test_implicit_policies_count_organisations(
    rule: ImplicitMetaPolicy.Rule.ValueType, needed: int
) -> None:
    policies = _channel(rule)
    members: Sequence[Signer] = [ONE.peer, TWO.peer, THREE.peer]
    for reference in ("/Channel/Application/P", "Application/P"):
        for count in range(4):
            found = policies.is_satisfied(reference, signers(*members[:count]))
            assert found is (count >= needed)
        assert not policies.is_satisfied(reference, signers(ONE.clients[0], TWO.clients[0]))
    if needed > 1:
        repeated = signers(ONE.peer, ONE.peer, ONE.peer)
        assert not policies.is_satisfied("/Channel/Application/P", repeated)


def test_nobody_satisfies_a_policy_that_does_not_exist() -> None:
    everybody = signers(ONE.peer, TWO.peer, THREE.peer)
    for name in ("/Channel/Application/Q", "/Channel", "/", "", "/Other/Application/P", "P"):
        assert not _channel(_ANY).is_satisfied(name, everybody)
        assert not _channel(_ANY).has(name)
    for sub_policy in ("Missing", "", "/Channel/Application/P", "P", "../P", "/Channel"):
        assert not _channel(_ANY, sub_policy).is_satisfied("/Channel/Application/P", everybody)
    inside = "/Channel/Application/Org2MSP/Endorsement"
    assert _channel(_ANY, inside).is_satisfied("/Channel/Application/P", everybody)


def test_a_doubt_about_a_signer_is_no_answer() -> None:
    unknown = Signers(good=signers(ONE.peer).good, unchecked=("an MSP of Idemix",))
    assert _channel(_ANY).is_satisfied("/Channel/Application/P", unknown)
    with pytest.raises(UncheckedError, match="Idemix"):
        _channel(_MAJORITY).is_satisfied("/Channel/Application/P", unknown)
