"""Puts policies of the channel configuration into words, such as `MAJORITY Admins` or `1 of (Org1MSP.admin)`."""

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from protos import configuration_pb2 as configuration
from protos.msp_pb2 import SerializedIdentity

_MAX_DEPTH = 32


def describe_policy(policy: configuration.Policy) -> str:
    """One line for an implicit or a signature policy; an unreadable one is named as such."""
    try:
        if policy.type == configuration.Policy.IMPLICIT_META:
            implicit = configuration.ImplicitMetaPolicy.FromString(policy.value)
            return f"{_name(configuration.ImplicitMetaPolicy.Rule.Name, implicit.rule)} {implicit.sub_policy}"
        if policy.type == configuration.Policy.SIGNATURE:
            envelope = configuration.SignaturePolicyEnvelope.FromString(policy.value)
            principals = [_principal(identity) for identity in envelope.identities]
            return _rule(envelope.rule, principals, _MAX_DEPTH)
    except DecodeError:
        return f"unreadable policy of type {policy.type}"
    return f"policy of type {policy.type}"


def _rule(rule: configuration.SignaturePolicy, principals: list[str], depth: int) -> str:
    if rule.HasField("signed_by"):
        index = rule.signed_by
        return principals[index] if 0 <= index < len(principals) else f"unknown principal {index}"
    if depth == 0:
        return "…"
    parts = ", ".join(_rule(part, principals, depth - 1) for part in rule.n_out_of.rules)
    return f"{rule.n_out_of.n} of ({parts})"


def _principal(principal: configuration.MSPPrincipal) -> str:
    kind = principal.principal_classification
    if kind == configuration.MSPPrincipal.ROLE:
        role = configuration.MSPRole.FromString(principal.principal)
        return f"{role.msp_identifier}.{_name(configuration.MSPRole.MSPRoleType.Name, role.role).lower()}"
    if kind == configuration.MSPPrincipal.ORGANIZATION_UNIT:
        unit = configuration.OrganizationUnit.FromString(principal.principal)
        return f"{unit.msp_identifier}.OU={unit.organizational_unit_identifier}"
    if kind == configuration.MSPPrincipal.IDENTITY:
        return f"{SerializedIdentity.FromString(principal.principal).mspid}.identity"
    return _name(configuration.MSPPrincipal.Classification.Name, kind).lower()


def _name(name_of: Callable[[Any], str], number: int) -> str:
    try:
        return name_of(number)
    except ValueError:
        return str(number)
