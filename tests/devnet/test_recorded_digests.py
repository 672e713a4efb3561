"""The configuration and lifecycle of a forged network against digests of a real Fabric network."""

from hashlib import sha256

from msgspec.structs import replace

from devnet.forge import lifecycle
from devnet.forge.chaincode_definitions import definitions
from devnet.forge.network import Network
from devnet.forge.world_state import KeyVersion, Simulation, WorldState
from protos.common_pb2 import (
    Block,
)
from protos.configuration_pb2 import ConfigGroup
from protos.transaction_pb2 import (
    VALID,
)
from tests.devnet.signatures import config_of


def outline(group: ConfigGroup, path: str = "") -> dict[str, object]:
    """Return all elements of a configuration tree without the bytes of their values."""
    elements: dict[str, object] = {path: (group.version, group.mod_policy)}
    for name, value in group.values.items():
        elements[f"{path}/v:{name}"] = (value.version, value.mod_policy, len(value.value) > 0)
    for name, entry in group.policies.items():
        policy = entry.policy
        elements[f"{path}/p:{name}"] = (entry.version, entry.mod_policy, policy.type, policy.value)
    for name, member in group.groups.items():
        elements.update(outline(member, f"{path}/{name}"))
    return elements


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:32]


def test_configuration_and_lifecycle_equal_those_of_a_recorded_network(blocks: list[Block]) -> None:
    """The digests are those of a Fabric 2.5.16 channel with equal organisations and chaincodes."""
    tree = outline(config_of(blocks[0]).config.channel_group)
    assert digest(repr(sorted(tree.items())).encode()) == RECORDED_CONFIGURATION
    state = WorldState(write_once=())
    number = 3
    for definition in definitions(Network(1)):
        package_id = f"{definition.name}_1.0:{RECORDED_PACKAGES[definition.name]}"
        recorded = replace(definition, package_id=package_id)
        for mspid in ("Org1MSP", "Org2MSP", None):
            simulation = Simulation(state)
            if mspid:
                lifecycle.approve(simulation, recorded, mspid)
                _, arguments = lifecycle.approve_arguments(recorded)
            else:
                lifecycle.commit(simulation, recorded, ["Org1MSP", "Org2MSP"])
                _, arguments = lifecycle.commit_arguments(recorded)
            assert (digest(arguments), digest(simulation.results())) == RECORDED_LIFECYCLE[number]
            assert state.commit(simulation, KeyVersion(number, 0)) == VALID
            number += 1


RECORDED_CONFIGURATION = "46a2ed74b28964e49077d93618c6432a"

RECORDED_PACKAGES = {
    "kindledger": "de9bb157a8d67463817b0f44284340783d971720700444771cf4d0dd5a93c7ad",
    "token": "bfb109dff32d5da6627522bd2f00725761c8e743a30c000e98ff4c6c76181fca",
}

RECORDED_LIFECYCLE = {
    3: ("649404d3acb7ab98d5a4ec1f9003e26b", "087a54746a74f1298427e766feb66079"),
    4: ("649404d3acb7ab98d5a4ec1f9003e26b", "a5e78e5e6193dfa97db33ac2dd89ff7a"),
    5: ("d60791d186baf39f609076d9bd0f6601", "2a2519902ce07c533292293adbb4f5d6"),
    6: ("da48d667f61e01be0097e116a8cea8d5", "ab8248be64474fe202692590415aaaa3"),
    7: ("da48d667f61e01be0097e116a8cea8d5", "83bb76e29314a6800c4c1d8ae4418c55"),
    8: ("99fd93c653d033edbe57fe148b2704ca", "280dfa9ecfcdd1cd602ea9ca53af18d9"),
}
"""The digests of the arguments and of the read/write set of each block."""
