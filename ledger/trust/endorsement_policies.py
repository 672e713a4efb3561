"""Decides whether the endorsers of a transaction satisfy the policies of what it writes.

The rules are those of Fabric 2's validation: `core/committer/txvalidator/v20/plugindispatcher` and
`core/common/validation/statebased` in Fabric.
"""

from functools import lru_cache

from google.protobuf.message import DecodeError

from ledger.trust.chaincode_definitions import LIFECYCLE, ChaincodeDefinitions, Definition
from ledger.trust.channel_trust import ChannelTrust
from ledger.trust.envelope_parts import EnvelopeParts, NamespaceWrites
from ledger.trust.limits import MAX_CACHED_POLICY_BYTES
from ledger.trust.signature_policies import (
    Budget,
    OutOf,
    Rule,
    SignedBy,
    compile_policy,
    is_satisfied,
)
from ledger.trust.signers import Signers
from ledger.trust.verdicts import (
    VALID,
    Check,
    RefusedError,
    UncheckedError,
    combine,
    invalid,
    not_checked,
)
from protos.collection_pb2 import ApplicationPolicy
from protos.configuration_pb2 import MSPPrincipal, MSPRole

_LIFECYCLE_ENDORSEMENT = "/Channel/Application/LifecycleEndorsement"
_IMPLICIT_COLLECTION = "_implicit_org_"
_BUILT_IN = "vscc"
_POLICIES = 1024

UNKNOWN_DEFINITION = "its definition was committed before the first known block"
"""Why a transaction is not checked where the chain was not followed from block 0 on."""

Policy = Rule | str
"""The rule of a signature policy, or the path of a policy of the channel configuration."""


def check_endorsement(
    trust: ChannelTrust,
    definitions: ChaincodeDefinitions,
    transaction: EnvelopeParts,
    signers: Signers,
) -> Check:
    """Return whether the endorsers satisfy the policy of each namespace that is written.

    The invoked chaincode counts as written. A policy of a single key, a collection with a policy of
    its own, a validation plugin other than Fabric's, and the rules before Fabric 2 are not checked.
    """
    if not trust.validates_by_namespace:
        return not_checked("the channel's capabilities demand the rules before Fabric 2")
    namespaces = {transaction.chaincode: NamespaceWrites.nothing(transaction.chaincode)}
    for namespace in transaction.namespaces:
        if namespace.writes_public or namespace.written_collections:
            namespaces[namespace.name] = namespace
    return combine(*(_check(trust, definitions, writes, signers) for writes in namespaces.values()))


def _check(
    trust: ChannelTrust,
    definitions: ChaincodeDefinitions,
    writes: NamespaceWrites,
    signers: Signers,
) -> Check:
    """Return whether the signers satisfy the policies of one namespace."""
    try:
        definition = _definition(definitions, writes.name)
        collections, has_own_policies = definitions.ordinary_writes(writes)
        checks = [
            _check_policy(trust, definition, writes.name, collection, signers)
            for collection in (collections if collections or has_own_policies else ("",))
        ]
        if has_own_policies:
            reason = f"{writes.name[:64]}: a written key may have an endorsement policy of its own"
            checks.append(not_checked(reason))
        return combine(*checks)
    except RefusedError as error:
        return invalid(str(error))
    except UncheckedError as error:
        return not_checked(f"{writes.name[:64]}: {error}")


def _check_policy(
    trust: ChannelTrust, definition: Definition, name: str, collection: str, signers: Signers
) -> Check:
    """Return whether the signers satisfy the policy of a collection, or of the public keys."""
    try:
        policy = (
            _collection_policy(trust, definition, name, collection)
            if collection
            else _chaincode_policy(trust, definition, name)
        )
        if _is_satisfied(trust, policy, signers):
            return VALID
        return invalid(_unsatisfied(name, signers))
    except RefusedError as error:
        return invalid(str(error))
    except UncheckedError as error:
        return not_checked(f"{name[:64]}: {error}")


def _definition(definitions: ChaincodeDefinitions, name: str) -> Definition:
    """Return the definition of a chaincode that Fabric's own plugin validates.

    Raises `RefusedError` when Fabric refuses its transactions, and `UncheckedError` when the
    definition is not known, or when another plugin decides.
    """
    if name == LIFECYCLE:
        return Definition(_BUILT_IN, b"", {})
    definition = definitions.find(name)
    is_usable = definition is not None and definition.plugin and definition.policy
    if definition is not None and definition.fault:
        raise UncheckedError(f"its definition is unreadable: {definition.fault}")
    if not is_usable and not definitions.complete:
        raise UncheckedError(UNKNOWN_DEFINITION)
    if definition is None:
        raise RefusedError(f"no definition of the chaincode {name[:64]!r} is committed")
    if not is_usable:
        raise RefusedError(f"the definition of {name[:64]!r} has no plugin or no policy")
    if definition.plugin != _BUILT_IN:
        raise UncheckedError(f"it is validated by the plugin {definition.plugin[:64]!r}")
    return definition


def _chaincode_policy(trust: ChannelTrust, definition: Definition, name: str) -> Policy:
    if name != LIFECYCLE:
        return _application_policy(definition.policy)
    if trust.policies.has(_LIFECYCLE_ENDORSEMENT):
        return _LIFECYCLE_ENDORSEMENT
    organisations = sorted(trust.organisations)
    return _members(len(organisations) // 2 + 1, *organisations)


def _collection_policy(
    trust: ChannelTrust, definition: Definition, chaincode: str, collection: str
) -> Policy:
    """Return the policy for writes to a private collection."""
    if definition.collections is None:
        return _chaincode_policy(trust, definition, chaincode)
    if collection.startswith(_IMPLICIT_COLLECTION):
        msp_id = collection.removeprefix(_IMPLICIT_COLLECTION)
        if msp_id not in trust.organisations:
            raise RefusedError(f"the collection {collection[:80]!r} is of no organisation")
        policy = f"/Channel/Application/{trust.organisations[msp_id]}/Endorsement"
        return policy if trust.policies.has(policy) else _members(1, msp_id)
    has_own_policy = definition.collections.get(collection)
    if has_own_policy is None:
        raise RefusedError(f"the chaincode defines no collection {collection[:64]!r}")
    if has_own_policy:
        raise UncheckedError("a written collection has an endorsement policy of its own")
    return _chaincode_policy(trust, definition, chaincode)


def _members(n: int, *msp_ids: str) -> Rule:
    """Return the rule that members of `n` of the organisations satisfy."""
    return OutOf(
        n,
        tuple(
            SignedBy((MSPPrincipal.ROLE, MSPRole(msp_identifier=msp_id).SerializeToString()))
            for msp_id in msp_ids
        ),
    )


def _application_policy(serialized: bytes) -> Policy:
    """Return the policy in a serialized `ApplicationPolicy`.

    Raises `UncheckedError` when it cannot be used.
    """
    cached = len(serialized) <= MAX_CACHED_POLICY_BYTES
    policy, fault = (_read_cached if cached else _read_application_policy)(serialized)
    if fault:
        raise UncheckedError(fault)
    return policy


def _read_application_policy(serialized: bytes) -> tuple[Policy, str]:
    """Return the policy, or a text that says why it cannot be used."""
    try:
        policy = ApplicationPolicy.FromString(serialized)
    except DecodeError:
        return "", "its policy cannot be parsed, or it nests too many rules"
    match policy.WhichOneof("Type"):
        case "channel_config_policy_reference":
            return policy.channel_config_policy_reference, ""
        case "signature_policy":
            rule = compile_policy(policy.signature_policy.SerializeToString())
            return ("", rule) if isinstance(rule, str) else (rule, "")
    return "", "its policy has no content"


_read_cached = lru_cache(_POLICIES)(_read_application_policy)


def _is_satisfied(trust: ChannelTrust, policy: Policy, signers: Signers) -> bool:
    if isinstance(policy, str):
        return trust.policies.is_satisfied(policy, signers)
    return is_satisfied(policy, signers, Budget())


def _unsatisfied(namespace: str, signers: Signers) -> str:
    by = ", ".join(signers.organisations) or "nobody"
    reason = f"{namespace[:64]}: valid endorsements by {by} do not satisfy the policy"
    return "; ".join((reason, *signers.faults[:1]))
