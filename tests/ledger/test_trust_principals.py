"""Identities satisfy the principals of policies as in a peer of Fabric."""

import pytest

from ledger.trust.msp import Msp, MspVersion
from ledger.trust.msp_identity import MspIdentity
from ledger.trust.principals import satisfies
from protos.configuration_pb2 import (
    CombinedPrincipal,
    MSPIdentityAnonymity,
    MSPPrincipal,
    MSPRole,
    OrganizationUnit,
)
from tests.ledger.authorities import Authority, Member, fault, msp, msp_config

ROOT = Authority()
V1_4_3, V3_0 = MspVersion.V1_4_3, MspVersion.V3_0


def _role(role: MSPRole.MSPRoleType.ValueType, msp_id: str = "Org1MSP") -> MSPPrincipal:
    message = MSPRole(msp_identifier=msp_id, role=role)
    return MSPPrincipal(
        principal_classification=MSPPrincipal.ROLE, principal=message.SerializeToString()
    )


def _satisfies(principal: MSPPrincipal, member: Member, organisation: Msp | None = None) -> bool:
    own = organisation or msp(msp_config(ROOT))
    identity: MspIdentity = own.identity(member.pem)
    return satisfies(own, identity, (principal.principal_classification, principal.principal))


@pytest.mark.parametrize("version", [MspVersion.V1_1, MspVersion.V1_3, V1_4_3, V3_0])
def test_roles_follow_from_units_by_the_version(version: MspVersion) -> None:
    modern = version >= V1_4_3
    organisation = msp(msp_config(ROOT), version)
    for unit in ("client", "peer", "admin", "orderer"):
        member = ROOT.issue(units=[unit])
        found = {
            name
            for name, role in MSPRole.MSPRoleType.items()
            if _satisfies(_role(role), member, organisation)
        }
        known = modern or unit in ("client", "peer")
        assert found == ({"MEMBER", unit.upper()} if known else set())
        assert not _satisfies(_role(MSPRole.MEMBER, "Org2MSP"), member, organisation)


def test_listed_administrators_are_administrators() -> None:
    admin, client = ROOT.issue(units=["client"]), ROOT.issue(units=["client"])
    for units in (True, False):
        organisation = msp(msp_config(ROOT, admins=[admin], node_units=units))
        assert _satisfies(_role(MSPRole.ADMIN), admin, organisation)
        assert not _satisfies(_role(MSPRole.ADMIN), client, organisation)
        assert _satisfies(_role(MSPRole.CLIENT), client, organisation) is units
        assert not _satisfies(_role(MSPRole.ORDERER), client, organisation)
    assert "neither client nor administrator" in fault(msp_config(ROOT, admins=[ROOT.issue()]))
    foreign = Authority("other").issue(units=["admin"])
    assert "no valid chain" in fault(msp_config(ROOT, admins=[foreign]))
    assert "no administrators" in fault(msp_config(ROOT, node_units=False))


def test_principals_of_other_kinds() -> None:
    member, other = ROOT.issue(units=["peer", "sales"]), ROOT.issue()

    def principal(kind: MSPPrincipal.Classification.ValueType, data: bytes) -> MSPPrincipal:
        return MSPPrincipal(principal_classification=kind, principal=data)

    path = dict(msp(msp_config(ROOT)).identity(member.pem).units)["sales"]
    unit = OrganizationUnit(
        msp_identifier="Org1MSP", organizational_unit_identifier="sales", certifiers_identifier=path
    )
    sales = principal(MSPPrincipal.ORGANIZATION_UNIT, unit.SerializeToString())
    identity = principal(MSPPrincipal.IDENTITY, member.serialized())
    foreign = principal(MSPPrincipal.IDENTITY, member.serialized("Org2MSP"))
    for asked, by_member, by_other in (
        (sales, True, False),
        (identity, True, False),
        (foreign, False, False),
        (_combined(identity, sales, _role(MSPRole.PEER)), True, False),
        (_combined(identity, _role(MSPRole.CLIENT)), False, False),
        (_combined(), False, False),
        (principal(MSPPrincipal.ANONYMITY, b""), True, True),
        (principal(MSPPrincipal.ANONYMITY, _ANONYMOUS), False, False),
        (principal(MSPPrincipal.ROLE, b"\xff"), False, False),
    ):
        assert (_satisfies(asked, member), _satisfies(asked, other)) == (by_member, by_other)
    unit.certifiers_identifier = b"another authority"
    assert not _satisfies(
        principal(MSPPrincipal.ORGANIZATION_UNIT, unit.SerializeToString()), member
    )


_ANONYMOUS = MSPIdentityAnonymity(anonymity_type=MSPIdentityAnonymity.ANONYMOUS).SerializeToString()


def _combined(*parts: MSPPrincipal) -> MSPPrincipal:
    return MSPPrincipal(
        principal_classification=MSPPrincipal.COMBINED,
        principal=CombinedPrincipal(principals=parts).SerializeToString(),
    )
