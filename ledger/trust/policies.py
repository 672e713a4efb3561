"""Evaluates the policies of a channel configuration, by their paths such as `/Channel/Readers`.

The rules are those of `common/policies` in Fabric.
"""

from google.protobuf.message import DecodeError
from msgspec import Struct

from ledger.trust.limits import MAX_POLICIES
from ledger.trust.signature_policies import Budget, Rule, compile_policy, is_satisfied
from ledger.trust.signers import Signers
from ledger.trust.verdicts import UncheckedError
from protos.configuration_pb2 import ConfigGroup, ImplicitMetaPolicy, Policy

_ROOT = "Channel"


class _Implicit(Struct, frozen=True):
    """A policy that is satisfied if `threshold` of the groups' policies are."""

    threshold: int
    policies: tuple[str, ...]


class ChannelPolicies:
    """The policies of a channel; those that cannot be used say so when they are evaluated."""

    def __init__(self, root: ConfigGroup) -> None:
        self._policies: dict[str, Policy] = {}
        self._children: dict[str, tuple[str, ...]] = {}
        self._compiled: dict[str, Rule | _Implicit | str] = {}
        self._is_complete = self._read(root)

    def has(self, reference: str) -> bool:
        """Return whether there is a policy with this path."""
        return _absolute(_ROOT, reference) in self._policies

    def is_satisfied(self, reference: str, signers: Signers) -> bool:
        """Return whether the signers satisfy the policy with this path.

        Nobody satisfies a policy that does not exist. Raises `UncheckedError` when the policy
        cannot be used, or when the answer depends on something that could not be checked.
        """
        if not self._is_complete:
            raise UncheckedError(
                f"the configuration has more than {MAX_POLICIES} groups and policies"
            )
        return self._evaluate(_absolute(_ROOT, reference), signers, Budget())

    def _read(self, root: ConfigGroup) -> bool:
        pending = [(_ROOT, root)]
        while pending:
            path, group = pending.pop()
            self._children[path] = tuple(f"{path}/{name}" for name in sorted(group.groups))
            for name, policy in group.policies.items():
                self._policies[f"{path}/{name}"] = policy.policy
            pending += [(f"{path}/{name}", child) for name, child in group.groups.items()]
            if len(self._policies) + len(self._children) + len(pending) > MAX_POLICIES:
                return False
        return True

    def _evaluate(self, path: str | None, signers: Signers, budget: Budget) -> bool:
        budget.spend()
        if path is None or path not in self._policies:
            return False
        if path not in self._compiled:
            self._compiled[path] = self._compile(path)
        compiled = self._compiled[path]
        if isinstance(compiled, str):
            raise UncheckedError(f"/{path[:200]}: {compiled}")
        if not isinstance(compiled, _Implicit):
            return is_satisfied(compiled, signers, budget)
        satisfied, doubts = 0, []
        for policy in compiled.policies:
            if satisfied >= compiled.threshold:
                break
            try:
                satisfied += self._evaluate(policy, signers, budget)
            except UncheckedError as error:
                doubts.append(error)
        if satisfied < compiled.threshold <= satisfied + len(doubts):
            raise doubts[0]
        return satisfied >= compiled.threshold

    def _compile(self, path: str) -> Rule | _Implicit | str:
        policy = self._policies[path]
        if policy.type == Policy.SIGNATURE:
            return compile_policy(policy.value)
        if policy.type != Policy.IMPLICIT_META:
            return f"policies of type {policy.type} are unknown"
        try:
            implicit = ImplicitMetaPolicy.FromString(policy.value)
        except DecodeError:
            return "the policy cannot be parsed"
        groups = self._children[path.rpartition("/")[0]]
        thresholds = {
            ImplicitMetaPolicy.ANY: 1,
            ImplicitMetaPolicy.ALL: len(groups),
            ImplicitMetaPolicy.MAJORITY: len(groups) // 2 + 1,
        }
        if implicit.rule not in thresholds:
            return f"the rule {implicit.rule} is unknown"
        # Fabric: a group without groups satisfies any of its implicit policies.
        threshold = thresholds[implicit.rule] if groups else 0
        # A reference never leaves the group for which it is resolved, so policies have no loops.
        policies = [_absolute(group, implicit.sub_policy) or "" for group in groups]
        return _Implicit(threshold, tuple(policies))


def _absolute(group: str, reference: str) -> str | None:
    """Return the path of a policy that is named in a group, or None if it is outside the group."""
    if not reference.startswith("/"):
        return f"{group}/{reference}"
    return reference[1:] if reference.startswith(f"/{group}/") else None
