"""Evaluates signature policies: rules such as "2 of a peer of A, a peer of B and a peer of C".

The rules are those of `common/cauthdsl` in Fabric.
"""

from functools import lru_cache

from google.protobuf.message import DecodeError
from msgspec import Struct

from ledger.trust.limits import MAX_CACHED_POLICY_BYTES, MAX_EVALUATED_RULES, MAX_POLICY_RULES
from ledger.trust.principals import Principal, satisfies
from ledger.trust.signers import Signer, Signers
from ledger.trust.verdicts import UncheckedError
from protos.configuration_pb2 import SignaturePolicy, SignaturePolicyEnvelope

_COMPILED = 1024


class SignedBy(Struct, frozen=True):
    """A rule that the signature of one identity satisfies."""

    principal: Principal


class OutOf(Struct, frozen=True):
    """A rule that is satisfied if `n` of its rules are."""

    n: int
    rules: "tuple[SignedBy | OutOf, ...]"


Rule = SignedBy | OutOf


class Budget:
    """The number of rules that one evaluation may still visit."""

    def __init__(self, rules: int = MAX_EVALUATED_RULES) -> None:
        self._rules = rules

    def spend(self) -> None:
        """Count one rule; raise `UncheckedError` if it is one too many."""
        self._rules -= 1
        if self._rules < 0:
            raise UncheckedError("the policy has too many rules")


def compile_policy(serialized: bytes) -> Rule | str:
    """Return the rule of a serialized `SignaturePolicyEnvelope`, or why it cannot be used.

    Fabric refuses such a policy, or it would read it as one that anyone satisfies: a negative `n`.
    """
    if len(serialized) > MAX_CACHED_POLICY_BYTES:
        return _compile_policy(serialized)
    return _compile_cached(serialized)


def _compile_policy(serialized: bytes) -> Rule | str:
    try:
        envelope = SignaturePolicyEnvelope.FromString(serialized)
        if envelope.version:
            raise UncheckedError(f"the policy has the unknown version {envelope.version}")
        if len(envelope.identities) > MAX_POLICY_RULES:
            raise UncheckedError(f"the policy has more than {MAX_POLICY_RULES} principals")
        principals: list[Principal] = [
            (p.principal_classification, p.principal) for p in envelope.identities
        ]
        return _compile(envelope.rule, principals, Budget(MAX_POLICY_RULES))
    except DecodeError:
        return "the policy cannot be parsed, or it nests too many rules"
    except UncheckedError as error:
        return str(error)


_compile_cached = lru_cache(_COMPILED)(_compile_policy)


def is_satisfied(rule: Rule, signers: Signers, budget: Budget) -> bool:
    """Return whether the signers satisfy a rule; each of them counts for one rule only.

    Raises `UncheckedError` when the answer depends on a signature that could not be checked, or
    when the budget is spent.
    """
    if _evaluate(rule, signers.good, [False] * len(signers.good), budget):
        return True
    if signers.unchecked:
        raise UncheckedError(signers.unchecked[0])
    return False


def _compile(rule: SignaturePolicy, principals: list[Principal], budget: Budget) -> Rule:
    budget.spend()
    match rule.WhichOneof("Type"):
        case "signed_by":
            if not 0 <= rule.signed_by < len(principals):
                raise UncheckedError(f"the policy names principal {rule.signed_by}, which it lacks")
            return SignedBy(principals[rule.signed_by])
        case "n_out_of":
            if rule.n_out_of.n < 0:
                raise UncheckedError(f"the policy demands {rule.n_out_of.n} signatures")
            parts = tuple(_compile(part, principals, budget) for part in rule.n_out_of.rules)
            return OutOf(rule.n_out_of.n, parts)
    raise UncheckedError("the policy has an empty rule")


def _evaluate(rule: Rule, signers: tuple[Signer, ...], used: list[bool], budget: Budget) -> bool:
    """Return whether unused signers satisfy a rule, and mark those that do as used.

    The order is Fabric's: each rule takes the first signer that satisfies it, and a rule that fails
    gives its signers back.
    """
    budget.spend()
    if isinstance(rule, SignedBy):
        for index, signer in enumerate(signers):
            if not used[index] and satisfies(signer.msp, signer.identity, rule.principal):
                used[index] = True
                return True
        return False
    satisfied = 0
    for part in rule.rules:
        attempt = used.copy()
        if _evaluate(part, signers, attempt, budget):
            satisfied += 1
            used[:] = attempt
    return satisfied >= rule.n
