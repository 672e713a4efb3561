"""Decides whether an identity satisfies a principal of a policy.

The rules are those of `SatisfiesPrincipal` in `msp/mspimpl.go` in Fabric, by the MSP's version.
"""

from google.protobuf.message import DecodeError

from ledger.trust.limits import (
    MAX_COMBINED_DEPTH,
    MAX_COMBINED_PRINCIPALS,
    MAX_REMEMBERED_PRINCIPALS,
)
from ledger.trust.msp import Msp, MspVersion
from ledger.trust.msp_identity import MspIdentity
from ledger.trust.verdicts import RefusedError, UncheckedError
from protos.configuration_pb2 import (
    CombinedPrincipal,
    MSPIdentityAnonymity,
    MSPPrincipal,
    MSPRole,
    OrganizationUnit,
)
from protos.msp_pb2 import SerializedIdentity

Principal = tuple[int, bytes]
"""The classification, and the message that it names."""

_ROLE_NAMES: dict[int, str] = {
    MSPRole.ADMIN: "admin",
    MSPRole.CLIENT: "client",
    MSPRole.PEER: "peer",
    MSPRole.ORDERER: "orderer",
}


def satisfies(msp: Msp, identity: MspIdentity, principal: Principal) -> bool:
    """Return whether an identity of an MSP satisfies a principal.

    Raises `UncheckedError` when the principal combines more principals than the limits allow.
    """
    known = identity.satisfied.get(principal)
    if known is None:
        try:
            known = all(_satisfies(msp, identity, part) for part in _parts(principal, msp))
        except (DecodeError, RefusedError):
            known = False
        if len(identity.satisfied) >= MAX_REMEMBERED_PRINCIPALS:
            identity.satisfied.clear()
        identity.satisfied[principal] = known
    return known


def _parts(principal: Principal, msp: Msp) -> list[Principal]:
    """Return the principals that a principal combines, or the principal itself."""
    found: list[Principal] = []
    pending = [(principal, 0)]
    while pending:
        (kind, data), depth = pending.pop()
        if kind != MSPPrincipal.COMBINED:
            found.append((kind, data))
            continue
        if msp.version <= MspVersion.V1_1:
            raise RefusedError("the channel's capabilities do not allow combined principals")
        parts = CombinedPrincipal.FromString(data).principals
        if not parts:
            raise RefusedError("a combined principal has no parts")
        if depth >= MAX_COMBINED_DEPTH or len(parts) + len(pending) > MAX_COMBINED_PRINCIPALS:
            raise UncheckedError(
                "a principal combines too many principals, or nests them too deeply"
            )
        pending += [((p.principal_classification, p.principal), depth + 1) for p in parts]
    return found


def _satisfies(msp: Msp, identity: MspIdentity, principal: Principal) -> bool:
    kind, data = principal
    match kind:
        case MSPPrincipal.ROLE:
            role = MSPRole.FromString(data)
            return role.msp_identifier == msp.name and _has_role(msp, identity, role.role)
        case MSPPrincipal.ORGANIZATION_UNIT:
            unit = OrganizationUnit.FromString(data)
            named = unit.organizational_unit_identifier, unit.certifiers_identifier
            return (
                unit.msp_identifier == msp.name
                and identity.refusal is None
                and named in identity.units
            )
        case MSPPrincipal.IDENTITY:
            expected = SerializedIdentity.FromString(data)
            if expected.mspid != msp.name:
                return False
            certificate = msp.identity(expected.id_bytes).certificate
            return certificate.der == identity.certificate.der and identity.refusal is None
        case MSPPrincipal.ANONYMITY:
            anonymity = MSPIdentityAnonymity.FromString(data).anonymity_type
            return msp.version >= MspVersion.V1_3 and anonymity == MSPIdentityAnonymity.NOMINAL
    return False


def _has_role(msp: Msp, identity: MspIdentity, role: int) -> bool:
    if role == MSPRole.MEMBER:
        return identity.refusal is None
    if role not in _ROLE_NAMES:
        return False
    has_units = msp.version >= MspVersion.V1_4_3 and msp.node_units.enforced
    if role == MSPRole.ADMIN and identity.certificate.der in msp.admins:
        return True
    if role in (MSPRole.ADMIN, MSPRole.ORDERER) and not has_units:
        return False
    return identity.refusal is None and _ROLE_NAMES[role] in msp.node_units.roles(identity.units)
