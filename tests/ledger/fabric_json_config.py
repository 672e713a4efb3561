"""The channel configuration of a CONFIG envelope, from the JSON of Fabric's own tool."""

from ledger.model import Acl, Capabilities, ChannelConfig, Consenter, Organisation, Policy
from tests.ledger.fabric_json_identities import decode_base64, fingerprint
from tests.ledger.recorded import Json


def expected_config(config: Json) -> ChannelConfig:
    """Return the configuration in this JSON of a `common.Config`."""
    channel = config["channel_group"]
    application = channel["groups"].get("Application", {"groups": {}, "values": {}})
    ordering = channel["groups"]["Orderer"]
    batch_size = _value(ordering, "BatchSize")
    consensus = _value(ordering, "ConsensusType")
    acls = _value(application, "ACLs").get("acls", {})
    return ChannelConfig(
        sequence=int(config["sequence"]),
        organisations=_organisations(application),
        orderer_organisations=_organisations(ordering),
        orderer_addresses=tuple(_value(channel, "OrdererAddresses").get("addresses", ())),
        consensus_type=consensus["type"],
        consenters=_raft_consenters(consensus)
        if consensus["type"] == "etcdraft"
        else _bft_consenters(ordering),
        batch_timeout=_value(ordering, "BatchTimeout")["timeout"],
        max_message_count=batch_size["max_message_count"],
        absolute_max_bytes=batch_size["absolute_max_bytes"],
        preferred_max_bytes=batch_size["preferred_max_bytes"],
        capabilities=Capabilities(
            _capabilities(channel), _capabilities(ordering), _capabilities(application)
        ),
        policies=tuple(_policies("/Channel", channel)),
        acls=tuple(Acl(resource, acls[resource]["policy_ref"]) for resource in sorted(acls)),
    )


def _value(group: Json, name: str) -> Json:
    return group["values"].get(name, {}).get("value") or {}


def _capabilities(group: Json) -> tuple[str, ...]:
    return tuple(sorted(_value(group, "Capabilities").get("capabilities", {})))


def _organisations(group: Json) -> tuple[Organisation, ...]:
    return tuple(
        Organisation(
            name=name,
            msp_id=msp["config"]["name"],
            msp_type=msp["type"],
            root_fingerprints=tuple(
                fingerprint(decode_base64(root)) for root in msp["config"]["root_certs"]
            ),
            endpoints=tuple(_value(organisation, "Endpoints").get("addresses", ())),
            anchor_peers=tuple(
                f"{peer['host']}:{peer['port']}"
                for peer in _value(organisation, "AnchorPeers").get("anchor_peers", ())
            ),
        )
        for name, organisation in sorted(group["groups"].items())
        for msp in (_value(organisation, "MSP"),)
    )


def _raft_consenters(consensus: Json) -> tuple[Consenter, ...]:
    return tuple(
        Consenter(node["host"], node["port"]) for node in consensus["metadata"]["consenters"]
    )


def _bft_consenters(ordering: Json) -> tuple[Consenter, ...]:
    return tuple(
        Consenter(
            node["host"],
            node["port"],
            node["id"],
            node["msp_id"],
            fingerprint(decode_base64(node["identity"])),
        )
        for node in _value(ordering, "Orderers")["consenter_mapping"]
    )


def _policies(path: str, group: Json) -> list[Policy]:
    own = [
        Policy(f"{path}/{name}", _rule(group["policies"][name]["policy"]))
        for name in sorted(group["policies"])
    ]
    children = [
        _policies(f"{path}/{name}", group["groups"][name]) for name in sorted(group["groups"])
    ]
    return own + [policy for child in children for policy in child]


def _rule(policy: Json) -> str:
    value = policy["value"]
    if policy["type"] == 3:
        return f"{value['rule']} {value['sub_policy']}"
    principals = [
        f"{principal['msp_identifier']}.{principal['role'].lower()}"
        if "role" in principal
        else f"{principal['mspid']}.identity"
        for identity in value["identities"]
        for principal in (identity["principal"],)
    ]
    n_out_of = value["rule"]["n_out_of"]
    parts = ", ".join(principals[rule["signed_by"]] for rule in n_out_of["rules"])
    return f"{n_out_of['n']} of ({parts})"
