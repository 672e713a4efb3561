"""The policy of each written namespace and collection is the one of Fabric 2's validation."""

from itertools import islice

import pytest
from msgspec.structs import replace

from devnet.forge.envelopes import Chaincode, EndorserTransaction
from devnet.forge.forger import Recipe, forge
from devnet.forge.genesis import channel_group, genesis_envelope, set_value, signature_policy
from devnet.forge.identities import Signer
from ledger.trust.chaincode_definitions import ChaincodeDefinitions, Definition
from ledger.trust.channel_trust import ChannelTrust
from ledger.trust.envelopes import verify_envelope, verify_envelopes
from ledger.trust.limits import MAX_NAMESPACES
from ledger.trust.verdicts import Result
from protos.chaincode_pb2 import ChaincodeData, ChaincodeSpec
from protos.collection_pb2 import ApplicationPolicy
from protos.configuration_pb2 import Capabilities, Capability, Config, MSPRole
from protos.kvrwset_pb2 import (
    HashedRWSet,
    KVMetadataEntry,
    KVMetadataWrite,
    KVRWSet,
    KVWrite,
    KVWriteHash,
)
from protos.rwset_pb2 import CollectionHashedReadWriteSet, NsReadWriteSet, TxReadWriteSet
from tests.ledger.trusted_chain import channel_trust, follow_envelopes, trust_of

RECIPE = Recipe(seed=18, transactions_per_block=1)
NETWORK = RECIPE.network()
TRUST = channel_trust(NETWORK)
ONE, TWO = NETWORK.organisations
_PEER_OF_ONE = ApplicationPolicy(
    signature_policy=signature_policy(1, [MSPRole(msp_identifier="Org1MSP", role=MSPRole.PEER)])
).SerializeToString()
DEFINITIONS = ChaincodeDefinitions(
    current={"cc": Definition("vscc", _PEER_OF_ONE, {"plain": False, "own": True})}
)

_OLD = Capabilities(capabilities={"V1_4_2": Capability()})

VALID, INVALID, NOT_CHECKED = Result.VALID, Result.INVALID, Result.NOT_CHECKED


def envelope(namespace: NsReadWriteSet, *endorsers: Signer, chaincode: str = "cc") -> bytes:
    """Return a transaction with the read/write set of one namespace."""
    return EndorserTransaction(
        channel=NETWORK.channel,
        chaincode=Chaincode(chaincode, "1", ChaincodeSpec.NODE),
        args=[],
        creator=NETWORK.client,
        endorsers=endorsers,
        nonce=b"nonce",
        timestamp=None,
        results=TxReadWriteSet(ns_rwset=[namespace]).SerializeToString(),
    ).seal()


def private(collection: str, name: str = "cc") -> NsReadWriteSet:
    """Return the read/write set that writes one key of a collection."""
    hashed = HashedRWSet(hashed_writes=[KVWriteHash(key_hash=b"h")]).SerializeToString()
    sets = [CollectionHashedReadWriteSet(collection_name=collection, hashed_rwset=hashed)]
    return NsReadWriteSet(namespace=name, collection_hashed_rwset=sets)


def public(key: str, value: bytes = b"v", name: str = "cc") -> NsReadWriteSet:
    writes = KVRWSet(writes=[KVWrite(key=key, value=value)])
    return NsReadWriteSet(namespace=name, rwset=writes.SerializeToString())


def with_policy(key: str) -> NsReadWriteSet:
    """Return the read/write set that gives a key an endorsement policy of its own."""
    entry = KVMetadataEntry(name="VALIDATION_PARAMETER", value=_PEER_OF_ONE)
    writes = KVRWSet(metadata_writes=[KVMetadataWrite(key=key, entries=[entry])])
    return NsReadWriteSet(namespace="cc", rwset=writes.SerializeToString())


def endorsement(
    data: bytes, definitions: ChaincodeDefinitions = DEFINITIONS, trust: ChannelTrust = TRUST
) -> tuple[Result, str]:
    check = verify_envelope(trust, definitions, data).endorsement
    return check.result, check.reason


@pytest.mark.parametrize(
    ("collection", "by_one", "by_two", "words"),
    [
        ("plain", VALID, INVALID, "Org2MSP do not satisfy the policy"),
        ("own", NOT_CHECKED, NOT_CHECKED, "a policy of its own"),
        ("unknown", INVALID, INVALID, "no collection 'unknown'"),
        ("_implicit_org_Org1MSP", VALID, INVALID, "Org2MSP do not satisfy the policy"),
        ("_implicit_org_Org2MSP", INVALID, VALID, ""),
        ("_implicit_org_Org9MSP", INVALID, INVALID, "is of no organisation"),
    ],
)
def test_collections(collection: str, by_one: Result, by_two: Result, words: str) -> None:
    assert endorsement(envelope(private(collection), ONE.peer))[0] is by_one
    result, reason = endorsement(envelope(private(collection), TWO.peer))
    assert result is by_two
    assert words.replace("a policy", "an endorsement policy") in reason


def test_the_policy_of_lifecycle() -> None:
    for endorsers, result in (
        ((ONE.peer,), INVALID),
        ((ONE.peer, TWO.peer), VALID),
        ((ONE.admin, TWO.admin), INVALID),
    ):
        data = envelope(public("k", name="_lifecycle"), *endorsers, chaincode="_lifecycle")
        assert endorsement(data)[0] is result
    # Without a policy of its own: members of a majority of the organisations.
    root = channel_group(NETWORK)
    del root.groups["Application"].policies["LifecycleEndorsement"]
    trust = trust_of(genesis_envelope(NETWORK, Config(channel_group=root), 0))
    for endorsers, result in (((ONE.admin, TWO.admin), VALID), ((ONE.admin,), INVALID)):
        data = envelope(public("k", name="_lifecycle"), *endorsers, chaincode="_lifecycle")
        assert endorsement(data, trust=trust)[0] is result


def test_a_key_with_a_policy_of_its_own_is_not_checked() -> None:
    sets, writes = envelope(with_policy("k"), ONE.peer), envelope(public("k"), ONE.peer)
    other = envelope(public("other"), TWO.peer)
    codes = bytes(3)
    # In the block that sets it, and in the blocks after it.
    verdicts, after = verify_envelopes(TRUST, DEFINITIONS, 5, [sets, writes, other], codes)
    assert [v.endorsement.result for v in verdicts] == [NOT_CHECKED, NOT_CHECKED, INVALID]
    assert endorsement(writes, after)[0] is NOT_CHECKED
    assert endorsement(other, after)[0] is INVALID
    # An invalid transaction sets nothing.
    _, after = verify_envelopes(TRUST, DEFINITIONS, 5, [sets], b"\x0a")
    assert endorsement(writes, after) == (VALID, "")


def test_what_can_be_checked_is_checked_beside_what_cannot() -> None:
    known = replace(DEFINITIONS, keys=frozenset({("cc", "", "k")}))
    for writes in (
        NsReadWriteSet(namespace="cc", rwset=public("k").rwset + public("other").rwset),
        NsReadWriteSet(
            namespace="cc",
            rwset=public("other").rwset,
            collection_hashed_rwset=private("own").collection_hashed_rwset,
        ),
    ):
        for endorser, result in ((ONE.peer, NOT_CHECKED), (TWO.peer, INVALID)):
            assert endorsement(envelope(writes, endorser), known)[0] is result
    assert endorsement(envelope(public("k"), TWO.peer), known)[0] is NOT_CHECKED


def test_a_transaction_of_thousands_of_collections_is_not_checked() -> None:
    sets = CollectionHashedReadWriteSet(collection_name="plain")
    many = NsReadWriteSet(namespace="cc", collection_hashed_rwset=[sets] * MAX_NAMESPACES)
    verdict = verify_envelope(TRUST, DEFINITIONS, envelope(many, ONE.peer))
    assert verdict.result is NOT_CHECKED
    assert "over 1000 namespaces or collections" in verdict.reason


def test_definitions_before_fabric_2() -> None:
    policy = ApplicationPolicy.FromString(_PEER_OF_ONE).signature_policy.SerializeToString()
    data = ChaincodeData(name="old", vscc="vscc", policy=policy).SerializeToString()
    deploy = envelope(public("old", data, name="lscc"), ONE.peer, chaincode="lscc")
    _, after = verify_envelopes(TRUST, DEFINITIONS, 5, [deploy], bytes(1))
    for endorser, result in ((ONE.peer, VALID), (TWO.peer, INVALID)):
        data = envelope(public("k", name="old"), endorser, chaincode="old")
        assert endorsement(data, after)[0] is result
        assert (
            endorsement(envelope(private("any", "old"), endorser, chaincode="old"), after)[0]
            is result
        )
        assert endorsement(data)[0] is INVALID  # no definition yet


def test_the_rules_before_fabric_2_are_not_checked() -> None:
    root = channel_group(NETWORK)
    set_value(root.groups["Application"], "Capabilities", _OLD)
    trust = trust_of(genesis_envelope(NETWORK, Config(channel_group=root), 0))
    result, reason = endorsement(envelope(public("k"), ONE.peer), trust=trust)
    assert result is NOT_CHECKED
    assert "rules before Fabric 2" in reason


def test_a_chain_that_is_known_from_its_middle_has_no_verdict_on_keys() -> None:
    late = ChaincodeDefinitions(complete=False, current=DEFINITIONS.current)
    assert endorsement(envelope(public("k"), ONE.peer), late)[0] is NOT_CHECKED
    assert endorsement(envelope(public("k"), ONE.peer))[0] is VALID


def test_a_definition_counts_from_the_next_block_on() -> None:
    blocks = [block.data for block in islice(forge(RECIPE), 12)]
    states = {e.number: e.definitions for e in follow_envelopes(blocks)}
    known = [sorted(states[number].current) for number in sorted(states)]
    first = known.index(["kindledger"])
    committing = next(e for e in follow_envelopes(blocks) if e.number == first - 1)
    assert b"CommitChaincodeDefinition" in committing.envelope
    assert known[first - 1] == []
