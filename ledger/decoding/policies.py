"""Describes policies of the channel configuration in words.

Examples are `MAJORITY Admins` and `1 of (Org1MSP.admin)`.
"""

from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.message import DecodeError

from protos import configuration_pb2 as configuration
from protos.msp_pb2 import SerializedIdentity

_MAX_CHARACTERS = 1 << 16
"""The most characters of a description.

A policy can refer to its principals any number of times, so that a small policy can have a
description of gigabytes.
"""


def describe_policy(policy: configuration.Policy) -> str:
    """Return the description of a policy in one line.

    If the policy cannot be decoded, the description has only its type. If the description would be
    too long, it has only the size of the policy.
    """
    try:
        if policy.type == configuration.Policy.IMPLICIT_META:
            implicit = configuration.ImplicitMetaPolicy.FromString(policy.value)
            rule = _name(configuration.ImplicitMetaPolicy.Rule.Name, implicit.rule)
            return f"{rule} {implicit.sub_policy}"
        if policy.type == configuration.Policy.SIGNATURE:
            envelope = configuration.SignaturePolicyEnvelope.FromString(policy.value)
            principals = [_principal(identity) for identity in envelope.identities]
            return (
                _joined(_words(envelope.rule, principals))
                or f"signature policy of {len(policy.value)} bytes"
            )
    except DecodeError:
        return f"unreadable policy of type {policy.type}"
    return f"policy of type {policy.type}"


def _words(rule: configuration.SignaturePolicy, principals: list[str]) -> Iterator[str]:
    if rule.HasField("signed_by"):
        index = rule.signed_by
        yield principals[index] if 0 <= index < len(principals) else f"unknown principal {index}"
        return
    yield f"{rule.n_out_of.n} of ("
    for index, part in enumerate(rule.n_out_of.rules):
        if index:
            yield ", "
        yield from _words(part, principals)
    yield ")"


def _joined(words: Iterator[str]) -> str | None:
    """Return the joined words, or None if they are too long."""
    joined: list[str] = []
    remaining = _MAX_CHARACTERS
    for word in words:
        remaining -= len(word)
        if remaining < 0:
            return None
        joined.append(word)
    return "".join(joined)


def _principal(principal: configuration.MSPPrincipal) -> str:
    kind = principal.principal_classification
    if kind == configuration.MSPPrincipal.ROLE:
        role = configuration.MSPRole.FromString(principal.principal)
        role_name = _name(configuration.MSPRole.MSPRoleType.Name, role.role)
        return f"{role.msp_identifier}.{role_name.lower()}"
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
