"""Absurd configurations and envelopes give a verdict with a reason, at a bounded cost."""

import time
from collections.abc import Callable
from itertools import islice

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from devnet.forge.forger import Recipe, forge
from devnet.forge.genesis import channel_group, genesis_envelope, signature_policy
from ledger.decoding.blocks import read_block
from ledger.trust.chaincode_definitions import ChaincodeDefinitions, Definition
from ledger.trust.channel_trust import from_config_envelope
from ledger.trust.envelope_parts import EnvelopeParts, NamespaceWrites, read_envelope
from ledger.trust.envelopes import verify_envelope, verify_parts
from ledger.trust.limits import MAX_KEYS_WITH_POLICY, MAX_SIGNATURES
from ledger.trust.verdicts import Result
from protos.collection_pb2 import ApplicationPolicy
from protos.common_pb2 import Metadata
from protos.configuration_pb2 import (
    CombinedPrincipal,
    Config,
    ConfigGroup,
    MSPPrincipal,
    MSPRole,
    Policy,
    SignaturePolicy,
    SignaturePolicyEnvelope,
)
from protos.kvrwset_pb2 import KVMetadataWrite, KVRWSet
from protos.msp_pb2 import FabricMSPConfig, MSPConfig
from tests.ledger.authorities import Authority
from tests.ledger.hypothesis_profiles import PROFILES
from tests.ledger.recorded import recorded
from tests.ledger.trusted_chain import Trusted, flipped, follow, trust_of, verify
from tests.ledger.wire_format import field

_SECONDS = 5.0  # a hundred times what each case takes
_RECIPE = Recipe(seed=17, transactions_per_block=1)
_NETWORK = _RECIPE.network()
_ORDERER = MSPRole(msp_identifier="OrdererMSP")

Change = Callable[[ConfigGroup], None]


def _policy(kind: int, value: bytes) -> Change:
    """Return the change that replaces the policy for blocks."""

    def change(root: ConfigGroup) -> None:
        root.groups["Orderer"].policies["BlockValidation"].policy.CopyFrom(
            Policy(type=kind, value=value)
        )

    return change


def _signature(rule: SignaturePolicy, *identities: MSPPrincipal) -> Change:
    envelope = SignaturePolicyEnvelope(rule=rule, identities=identities)
    return _policy(Policy.SIGNATURE, envelope.SerializeToString())


def _implicit(rule: int, sub_policy: str) -> Change:
    data = field(1, sub_policy.encode()) + field(2, rule)
    return _policy(Policy.IMPLICIT_META, data)


def _n_out_of(n: int) -> Change:
    policy = signature_policy(1, [_ORDERER])
    policy.rule.n_out_of.n = n
    return _policy(Policy.SIGNATURE, policy.SerializeToString())


def _n_out_of_nothing(root: ConfigGroup) -> None:
    rule = SignaturePolicy(n_out_of=SignaturePolicy.NOutOf(n=0))
    _signature(rule)(root)
    _remove_organisation(root)


def _principal(kind: int, data: bytes) -> Change:
    return _signature(
        SignaturePolicy(signed_by=0),
        MSPPrincipal(principal_classification=kind, principal=data),  # type: ignore[arg-type]
    )


def _msp(config: FabricMSPConfig | bytes, kind: int = 0) -> Change:
    """Return the change that replaces the MSP of the orderers."""
    data = config if isinstance(config, bytes) else config.SerializeToString()

    def change(root: ConfigGroup) -> None:
        group = root.groups["Orderer"].groups["OrdererOrg"]
        group.values["MSP"].value = MSPConfig(type=kind, config=data).SerializeToString()

    return change


def _nested(levels: int) -> bytes:
    rule = field(1, 0)
    for _ in range(levels):
        rule = field(2, field(1, 1) + field(2, rule))
    return field(2, rule)


def _combined(levels: int, width: int = 1) -> bytes:
    principal = MSPPrincipal(principal=_ORDERER.SerializeToString())
    for _ in range(levels):
        parts = CombinedPrincipal(principals=[principal] * width)
        principal = MSPPrincipal(
            principal_classification=MSPPrincipal.COMBINED, principal=parts.SerializeToString()
        )
    return principal.principal


def _remove_policy(root: ConfigGroup) -> None:
    del root.groups["Orderer"].policies["BlockValidation"]


def _remove_organisation(root: ConfigGroup) -> None:
    del root.groups["Orderer"].groups["OrdererOrg"]


def _remove_orderers(root: ConfigGroup) -> None:
    del root.groups["Orderer"]


def _many_policies(root: ConfigGroup) -> None:
    for number in range(10_001):
        root.groups["Orderer"].policies[f"P{number}"].policy.type = 1


def _two_definitions(root: ConfigGroup) -> None:
    other = MSPConfig(config=FabricMSPConfig(name="OrdererMSP").SerializeToString())
    root.groups["Application"].groups["Other"].values["MSP"].value = other.SerializeToString()


_UNKNOWN_CURVE = Authority(key=ec.generate_private_key(ec.SECP256K1()))
_ROOT = _NETWORK.ordering.authority.certificate

ABSURD: dict[str, tuple[Change, Result, str]] = {
    "nested": (_policy(1, _nested(10_000)), Result.NOT_CHECKED, "nests too many"),
    "garbage": (_policy(1, b"\xff"), Result.NOT_CHECKED, "cannot be parsed"),
    "unknown type": (_policy(77, b""), Result.NOT_CHECKED, "type 77"),
    "implicit garbage": (_policy(3, b"\xff"), Result.NOT_CHECKED, "cannot be parsed"),
    "unknown rule": (_implicit(99, "Writers"), Result.NOT_CHECKED, "rule 99"),
    "itself": (_implicit(0, "/Channel/Orderer/BlockValidation"), Result.INVALID, "do not satisfy"),
    "its own name": (_implicit(0, "BlockValidation"), Result.INVALID, "do not satisfy"),
    "huge n": (_n_out_of(2**31 - 1), Result.INVALID, "do not satisfy"),
    "negative n": (_n_out_of(-1), Result.NOT_CHECKED, "-1 signatures"),
    "no such principal": (
        _signature(SignaturePolicy(signed_by=5)),
        Result.NOT_CHECKED,
        "principal 5",
    ),
    "negative principal": (
        _signature(SignaturePolicy(signed_by=-1)),
        Result.NOT_CHECKED,
        "principal -1",
    ),
    "no rule": (_signature(SignaturePolicy()), Result.NOT_CHECKED, "empty rule"),
    "version 1": (_policy(1, field(1, 1)), Result.NOT_CHECKED, "unknown version"),
    "many rules": (
        _policy(1, signature_policy(1, [_ORDERER] * 5_000).SerializeToString()),
        Result.NOT_CHECKED,
        "principals",
    ),
    "unknown principal": (_principal(9, b""), Result.INVALID, "do not satisfy"),
    "unparsable principal": (_principal(0, b"\xff"), Result.INVALID, "do not satisfy"),
    "nested principal": (_principal(4, _combined(3_000)), Result.NOT_CHECKED, "too many"),
    "wide principal": (_principal(4, _combined(1, 100_000)), Result.NOT_CHECKED, "too many"),
    "bomb of principals": (_principal(4, _combined(4, 20)), Result.NOT_CHECKED, "too many"),
    # In Fabric anything satisfies an implicit policy over no groups, and a policy without rules.
    "no organisation": (_remove_organisation, Result.NOT_CHECKED, "demands no signature"),
    "n is 0": (_n_out_of_nothing, Result.NOT_CHECKED, "demands no signature"),
    "no policy": (_remove_policy, Result.NOT_CHECKED, "no policy /Channel/Orderer"),
    "no orderers": (_remove_orderers, Result.NOT_CHECKED, "no policy /Channel/Orderer"),
    "many policies": (_many_policies, Result.NOT_CHECKED, "more than 10000 groups"),
    "two definitions": (_two_definitions, Result.NOT_CHECKED, "defines it twice"),
    "empty MSP": (_msp(FabricMSPConfig(name="OrdererMSP")), Result.NOT_CHECKED, "no root"),
    "unnamed MSP": (_msp(b""), Result.INVALID, "no MSP 'OrdererMSP'"),
    "garbage MSP": (_msp(b"\xff"), Result.INVALID, "no MSP 'OrdererMSP'"),
    "Idemix": (_msp(FabricMSPConfig(name="OrdererMSP"), 1), Result.NOT_CHECKED, "Idemix"),
    "unknown MSP": (_msp(FabricMSPConfig(name="OrdererMSP"), 9), Result.NOT_CHECKED, "type 9"),
    "unparsable root": (
        _msp(FabricMSPConfig(name="OrdererMSP", root_certs=[_ROOT, b"garbage"])),
        Result.NOT_CHECKED,
        "no PEM text",
    ),
    "10,000 roots": (
        _msp(FabricMSPConfig(name="OrdererMSP", root_certs=[_ROOT] * 10_000)),
        Result.NOT_CHECKED,
        "certificates",
    ),
    "unknown curve": (
        _msp(FabricMSPConfig(name="OrdererMSP", root_certs=[_UNKNOWN_CURVE.pem])),
        Result.NOT_CHECKED,
        "no administrators",
    ),
}


@pytest.fixture(scope="module")
def signed() -> Trusted:
    """The first block that is signed after the genesis block of a forged chain."""
    _, block = follow(block.data for block in islice(forge(_RECIPE), 2))
    return block


@pytest.mark.parametrize("name", ABSURD)
def test_an_absurd_configuration_gives_a_verdict(name: str, signed: Trusted) -> None:
    change, result, words = ABSURD[name]
    root = channel_group(_NETWORK)
    change(root)
    envelope = genesis_envelope(_NETWORK, Config(channel_group=root), 0)
    started = time.monotonic()
    verdict = verify(trust_of(envelope), signed.block)
    assert time.monotonic() - started < _SECONDS
    assert verdict.result is result
    assert words in verdict.reason


def test_what_is_no_configuration_says_so() -> None:
    group = b""
    for _ in range(5_000):
        group = field(2, field(1, b"g") + field(2, group))
    for envelope in (b"", b"\xff", recorded("raft-2.5").blocks[0], field(1, group)):
        assert isinstance(from_config_envelope(envelope), str)
    transaction = read_block(recorded("raft-2.5").blocks[50]).envelopes[0]
    assert "type 3" in str(from_config_envelope(transaction))


def test_too_many_signatures_are_invalid(signed: Trusted) -> None:
    metadata = Metadata.FromString(signed.block.metadata[0])
    for count, words in ((MAX_SIGNATURES + 1, "more than 256 signatures"), (10_000, "too long")):
        many = Metadata(value=metadata.value, signatures=list(metadata.signatures) * count)
        block = replace(signed.block, metadata=(many.SerializeToString(),))
        started = time.monotonic()
        verdict = verify(signed.trust, block)
        assert time.monotonic() - started < _SECONDS
        assert verdict.result is Result.INVALID
        assert words in verdict.reason


def test_too_many_or_too_long_endorsements_are_not_verified() -> None:
    chain = [read_block(raw) for raw in recorded("raft-2.5").blocks]
    trust = trust_of(chain[0].envelopes[0])
    parts = read_envelope(chain[50].envelopes[0])
    assert len(parts.endorsements) == 2
    for many, words in (
        (replace(parts, endorsements=parts.endorsements * MAX_SIGNATURES), "256 endorsements"),
        (
            replace(parts, endorsements=parts.endorsements * 100, endorsed=bytes(1 << 21)),
            "too many bytes",
        ),
    ):
        started = time.monotonic()
        verdict = verify_parts(trust, ChaincodeDefinitions(), many)
        assert time.monotonic() - started < _SECONDS
        assert verdict.endorsement.result is Result.NOT_CHECKED
        assert words in verdict.endorsement.reason


def test_definitions_that_cannot_be_used_give_a_verdict() -> None:
    chain = [read_block(raw) for raw in recorded("raft-2.5").blocks]
    trust = trust_of(chain[0].envelopes[0])
    envelope = next(
        block.envelopes[0] for block in chain if b"DonationReceived" in block.envelopes[0]
    )

    def verdict(definition: Definition) -> tuple[Result, str]:
        definitions = ChaincodeDefinitions(current={"kindledger": definition})
        check = verify_envelope(trust, definitions, envelope).endorsement
        return check.result, check.reason

    def policy(name: str) -> bytes:
        return ApplicationPolicy(channel_config_policy_reference=name).SerializeToString()

    for definition, result, words in (
        (Definition("vscc", policy("/Channel/Application/Endorsement")), Result.VALID, ""),
        (Definition("vscc", policy("/Channel/None")), Result.INVALID, "do not satisfy"),
        (Definition("vscc", policy("")), Result.INVALID, "do not satisfy"),
        (Definition("other", policy("P")), Result.NOT_CHECKED, "plugin 'other'"),
        (Definition("", b""), Result.INVALID, "no plugin or no policy"),
        (Definition("vscc", b"\xff"), Result.NOT_CHECKED, "cannot be parsed"),
        (Definition("vscc", field(9, 1)), Result.NOT_CHECKED, "no content"),
        (Definition("vscc", field(1, _nested(5_000))), Result.NOT_CHECKED, "cannot be parsed"),
        (Definition(fault="its policy is broken"), Result.NOT_CHECKED, "policy is broken"),
    ):
        assert verdict(definition)[0] is result
        assert words in verdict(definition)[1]


def test_keys_with_policies_are_remembered_up_to_a_limit() -> None:
    def after(count: int) -> ChaincodeDefinitions:
        writes = [KVMetadataWrite(key=f"k{i}") for i in range(count)]
        namespace = NamespaceWrites("kindledger", KVRWSet(metadata_writes=writes), ())
        return ChaincodeDefinitions().after([EnvelopeParts(namespaces=(namespace,))])

    assert after(1).keys == {("kindledger", "", "k0")}
    assert not after(1).crowded
    many = after(MAX_KEYS_WITH_POLICY + 1)
    assert not many.keys
    assert many.crowded == {"kindledger"}


@pytest.mark.parametrize("profile", PROFILES)
def test_no_bytes_raise_an_error(profile: settings) -> None:
    profile(given(st.data())(_check_broken_configuration))()
    profile(given(st.binary(max_size=200))(_check_broken_envelope))()


def _check_broken_configuration(data: st.DataObject) -> None:
    genesis = read_block(recorded("bft-3.1").blocks[0]).envelopes[0]
    bit = data.draw(st.integers(0, 8 * len(genesis) - 1))
    cut = data.draw(st.integers(0, len(genesis)))
    block = read_block(recorded("bft-3.1").blocks[3])
    for envelope in (flipped(genesis, bit), genesis[:cut], genesis[cut:]):
        trust = from_config_envelope(envelope)
        if not isinstance(trust, str):
            verify(trust, block)
            verify_envelope(trust, ChaincodeDefinitions(), block.envelopes[0])


def _check_broken_envelope(envelope: bytes) -> None:
    trust = trust_of(read_block(recorded("bft-3.1").blocks[0]).envelopes[0])
    assert verify_envelope(trust, ChaincodeDefinitions(), envelope).result is Result.INVALID
