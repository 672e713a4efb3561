"""Puts policies of the channel configuration into words, such as `MAJORITY Admins` or `1 of (Org1MSP.admin)`."""

from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.message import DecodeError

from protos import configuration_pb2 as configuration
from protos.msp_pb2 import SerializedIdentity

_MAX_CHARACTERS = 1 << 16
"""A policy may refer to each of its principals any number of times: a few bytes could ask for gigabytes of words."""


def describe_policy(policy: configuration.Policy) -> str:
    """One line for an implicit or a signature policy; one that is unreadable or too long is named as such."""
    try:
        if policy.type == configuration.Policy.IMPLICIT_META:
            implicit = configuration.ImplicitMetaPolicy.FromString(policy.value)
            return f"{_name(configuration.ImplicitMetaPolicy.Rule.Name, implicit.rule)} {implicit.sub_policy}"
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
    for place, part in enumerate(rule.n_out_of.rules):
        if place:
            yield ", "
        yield from _words(part, principals)
    yield ")"


def _joined(words: Iterator[str]) -> str | None:
    """None if they are too long."""
    joined: list[str] = []
    room = _MAX_CHARACTERS
    for word in words:
        room -= len(word)
        if room < 0:
            return None
        joined.append(word)
    return "".join(joined)


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
