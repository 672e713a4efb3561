"""The `_lifecycle` system chaincode: organisations approve and commit chaincode definitions.

Keys, values and reads follow `core/chaincode/lifecycle` in Fabric.
"""

from functools import cached_property

from msgspec import Struct

from devnet.forge.envelopes import Chaincode
from devnet.forge.genesis import serialize
from devnet.forge.world_state import Simulation
from devnet.wire_format import field as wire_field
from protos.chaincode_pb2 import ChaincodeSpec
from protos.collection_pb2 import ApplicationPolicy, CollectionConfigPackage
from protos.configuration_pb2 import SignaturePolicyEnvelope
from protos.lifecycle_pb2 import (
    ApproveChaincodeDefinitionForMyOrgArgs,
    ChaincodeSource,
    CommitChaincodeDefinitionArgs,
    StateData,
)

NAMESPACE = "_lifecycle"
SYSTEM_CHAINCODE = Chaincode(NAMESPACE, "syscc", ChaincodeSpec.UNDEFINED)

_SEQUENCE = 1
_PARAMETERS = ("EndorsementInfo", "ValidationInfo", "Collections")


class Definition(Struct, frozen=True, dict=True):
    """A chaincode definition that the organisations agree on, with sequence 1."""

    name: str
    version: str
    package_id: str
    policy: SignaturePolicyEnvelope
    collections: CollectionConfigPackage | None = None

    @cached_property
    def parameters(self) -> dict[str, bytes]:
        """The values of the fields that an organisation approves, by field name."""
        endorsement = wire_field(1, self.version.encode()) + wire_field(3, b"escc")
        validation = wire_field(1, b"vscc") + wire_field(2, self.validation_parameter)
        collections = b"" if self.collections is None else serialize(self.collections)
        contents = (endorsement, validation, collections)
        return {
            name: StateData(Bytes=content).SerializeToString()
            for name, content in zip(_PARAMETERS, contents, strict=True)
        }

    @cached_property
    def validation_parameter(self) -> bytes:
        """The serialized endorsement policy."""
        return serialize(ApplicationPolicy(signature_policy=self.policy))


def approve_arguments(definition: Definition) -> list[bytes]:
    """Return the arguments of ApproveChaincodeDefinitionForMyOrg."""
    source = ChaincodeSource(local_package=ChaincodeSource.Local(package_id=definition.package_id))
    arguments = ApproveChaincodeDefinitionForMyOrgArgs(
        sequence=_SEQUENCE,
        name=definition.name,
        version=definition.version,
        validation_parameter=definition.validation_parameter,
        collections=definition.collections,
        source=source,
    )
    return [b"ApproveChaincodeDefinitionForMyOrg", serialize(arguments)]


def commit_arguments(definition: Definition) -> list[bytes]:
    """Return the arguments of CommitChaincodeDefinition."""
    arguments = CommitChaincodeDefinitionArgs(
        sequence=_SEQUENCE,
        name=definition.name,
        version=definition.version,
        validation_parameter=definition.validation_parameter,
        collections=definition.collections,
    )
    return [b"CommitChaincodeDefinition", serialize(arguments)]


def approve(simulation: Simulation, definition: Definition, mspid: str) -> None:
    """Record the reads and writes of an approval.

    The writes go to the implicit collection of the organisation; the ledger holds their hashes.
    """
    _read_definition(simulation, definition.name)
    private = f"{NAMESPACE}$_implicit_org_{mspid}"
    approved = f"{definition.name}#{_SEQUENCE}"
    for section in ("chaincode-sources", "namespaces"):
        simulation.get(private, f"{section}/metadata/{approved}")
    for name, value in definition.parameters.items():
        simulation.put(private, f"namespaces/fields/{approved}/{name}", value)
    simulation.put(
        private, f"namespaces/metadata/{approved}", _metadata("ChaincodeParameters", _PARAMETERS)
    )
    package_id = StateData(String=definition.package_id).SerializeToString()
    simulation.put(private, f"chaincode-sources/fields/{approved}/PackageID", package_id)
    package = _metadata("ChaincodeLocalPackage", ("PackageID",))
    simulation.put(private, f"chaincode-sources/metadata/{approved}", package)


def commit(simulation: Simulation, definition: Definition, mspids: list[str]) -> None:
    """Record the reads and writes of a commit: it reads the approvals and writes the definition."""
    _read_definition(simulation, definition.name)
    approved = f"{definition.name}#{_SEQUENCE}"
    for mspid in mspids:
        private = f"{NAMESPACE}$_implicit_org_{mspid}"
        for name in _PARAMETERS:
            simulation.get(private, f"namespaces/fields/{approved}/{name}")
        simulation.get(private, f"namespaces/metadata/{approved}")
    sequence = StateData(Int=_SEQUENCE).SerializeToString()
    for name, value in {**definition.parameters, "Sequence": sequence}.items():
        simulation.put(NAMESPACE, f"namespaces/fields/{definition.name}/{name}", value)
    metadata = _metadata("ChaincodeDefinition", ("Sequence", *_PARAMETERS))
    simulation.put(NAMESPACE, f"namespaces/metadata/{definition.name}", metadata)


def read_sequence(simulation: Simulation, chaincode: str) -> None:
    """Record the read that every invocation makes of the called chaincode's definition."""
    simulation.get(NAMESPACE, f"namespaces/fields/{chaincode}/Sequence")


def read_collections(simulation: Simulation, chaincode: str) -> None:
    """Record the additional reads of an invocation that uses private data."""
    for name in _PARAMETERS:
        simulation.get(NAMESPACE, f"namespaces/fields/{chaincode}/{name}")
    simulation.get(NAMESPACE, f"namespaces/metadata/{chaincode}")


def _read_definition(simulation: Simulation, chaincode: str) -> None:
    read_sequence(simulation, chaincode)
    simulation.get(NAMESPACE, f"namespaces/metadata/{chaincode}")
    simulation.get("lscc", chaincode)


def _metadata(datatype: str, fields: tuple[str, ...]) -> bytes:
    """Return `lifecycle.StateMetadata`: the type of a stored structure and its field names."""
    return wire_field(1, datatype.encode()) + b"".join(
        wire_field(2, name.encode()) for name in fields
    )
