"""Node OUs: the organisational units by which an MSP tells clients, peers, admins and orderers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ledger.trust.msp_identity import Unit
from ledger.trust.verdicts import RefusedError
from protos.msp_pb2 import FabricMSPConfig, FabricNodeOUs, FabricOUIdentifier

_ROLES_BEFORE_1_4_3 = ("client", "peer")
_ROLES = ("client", "peer", "admin", "orderer")


@dataclass(frozen=True, slots=True)
class NodeUnits:
    """The unit of each role; `enforced` says whether an identity must have exactly one of them.

    The second part of a unit is the path of the authority that must have issued it, or empty.
    """

    enforced: bool
    by_role: dict[str, Unit]

    @classmethod
    def from_config(
        cls, config: FabricMSPConfig, read: Callable[[FabricOUIdentifier], Unit], *, exact: bool
    ) -> "NodeUnits":
        """Return the node OUs of an MSP; `exact` means the rules of Fabric 1.4.3 and later.

        `read` finds the authority that a unit names. Raises `RefusedError` when a unit is missing
        or names a certificate that is no authority of the MSP.
        """
        if not config.HasField("fabric_node_ous"):
            return cls(enforced=False, by_role={})
        units = config.fabric_node_ous
        by_role = {}
        for role in _ROLES if exact else _ROLES_BEFORE_1_4_3:
            unit = _unit(units, role)
            if unit is not None:
                by_role[role] = (
                    read(unit) if unit.certificate else (unit.organizational_unit_identifier, b"")
                )
            if not exact and (unit is None or not unit.organizational_unit_identifier):
                raise RefusedError(f"the MSP defines node OUs, but not the one of its {role}s")
        return cls(enforced=units.enable and bool(by_role), by_role=by_role)

    def names(self, role: str) -> bool:
        """Return whether there is a unit for this role."""
        return role in self.by_role

    def roles(self, units: Iterable[Unit]) -> set[str]:
        """Return the roles of an identity with these units; none where node OUs are off."""
        if not self.enforced:
            return set()
        names = {name for name, _ in units}
        return {role for role, (name, _) in self.by_role.items() if name in names}

    def refusal(self, units: Iterable[Unit]) -> str | None:
        """Return why an identity with these units is invalid, or None."""
        if not self.enforced:
            return None
        paths = dict(self.by_role.values())
        count = 0
        for name, path in units:
            if name not in paths:
                continue
            if paths[name] and paths[name] != path:
                return f"the unit {name!r} comes from another authority than the MSP demands"
            count += 1
        if count == 1:
            return None
        return (
            "the certificate has no unit of client, peer, admin or orderer"
            if count == 0
            else "the certificate has more than one unit of client, peer, admin and orderer"
        )


def _unit(units: FabricNodeOUs, role: str) -> FabricOUIdentifier | None:
    return next(
        (unit for field, unit in units.ListFields() if field.name == f"{role}_ou_identifier"), None
    )
