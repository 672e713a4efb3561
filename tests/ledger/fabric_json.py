"""What a block must decode to, built from the JSON that Fabric's own tool makes of it.

Whole model objects, so that a comparison with them fails for any field that the decoder drops or adds. What the JSON
leaves as base64 is read with `wire_format`, certificates with their PEM text and attributes.
"""

from base64 import b64decode
from datetime import datetime
from hashlib import sha256

from cryptography import x509
from cryptography.x509.oid import NameOID

from ledger.model import (
    Acl,
    Action,
    Block,
    Capabilities,
    Chaincode,
    ChaincodeEvent,
    ChannelConfig,
    ClaimedIds,
    CollectionHashes,
    Consenter,
    HashedRead,
    HashedWrite,
    Identity,
    Lifecycle,
    MetadataEntry,
    MetadataWrite,
    Organisation,
    Policy,
    RangeQuery,
    Read,
    ReadWriteSet,
    Response,
    Signer,
    Timestamp,
    Transaction,
    Version,
    Write,
)
from tests.ledger.recorded import Json
from tests.ledger.wire_format import Message

_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_RFC4514 = {
    NameOID.COMMON_NAME: "CN",
    NameOID.COUNTRY_NAME: "C",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.LOCALITY_NAME: "L",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
}


def expected_block(decoded: Json, filtered: Json, raw: bytes, last_config: int) -> Block:
    """The block of that JSON; codes from the filtered delivery, hashes over `raw`, which is the serialized block."""
    header = decoded["header"]
    number, previous_hash, data_hash = (
        int(header["number"]),
        _b64(header["previous_hash"]),
        _b64(header["data_hash"]),
    )
    block = Message(raw)
    envelopes = block.message(2).each(1)
    assert len(envelopes) == len(decoded["data"]["data"]) == len(filtered["txs"])
    metadata = [_b64(entry) for entry in decoded["metadata"]["metadata"]]
    transactions = tuple(
        _transaction(payload["payload"], envelope, index, transaction["code"])
        for index, (payload, envelope, transaction) in enumerate(
            zip(decoded["data"]["data"], envelopes, filtered["txs"], strict=True)
        )
    )
    return Block(
        number=number,
        hash=sha256(_header_der(number, previous_hash, data_hash)).digest(),
        previous_hash=previous_hash,
        data_hash=data_hash,
        commit_hash=Message(metadata[4]).data(1),
        codes=bytes(transaction["code"] for transaction in filtered["txs"]),
        last_config=last_config,
        signers=tuple(_signer(Message(signature)) for signature in Message(metadata[0]).each(2)),
        size=sum(map(len, envelopes)),
        claims=tuple(
            ClaimedIds(transaction.tx_id, transaction.channel_id) for transaction in transactions
        ),
        transactions=transactions,
    )


def _header_der(number: int, previous_hash: bytes, data_hash: bytes) -> bytes:
    """Numbers below 128 and hashes of at most 32 bytes, as in the recordings, need short lengths only."""
    integer = b"\2" + (bytes((1, number)) if number < 0x80 else bytes((2, 0, number)))
    octets = b"".join(
        bytes((4, len(octet_string))) + octet_string for octet_string in (previous_hash, data_hash)
    )
    return bytes((0x30, len(integer + octets))) + integer + octets


def _signer(signature: Message) -> Signer:
    if signature.has(3):
        return Signer(identity=None, consenter_id=signature.message(3).integer(1))
    return Signer(identity=_identity(signature.message(1).data(1)), consenter_id=None)


def _transaction(payload: Json, envelope: bytes, index: int, code: int) -> Transaction:
    channel_header, creator = (
        payload["header"]["channel_header"],
        payload["header"]["signature_header"]["creator"],
    )
    actions = tuple(_action(action["payload"]) for action in payload["data"].get("actions", ()))
    named = [action.chaincode.name for action in actions if action.chaincode is not None]
    config = payload["data"].get("config")
    return Transaction(
        index=index,
        code=code,
        envelope_hash=sha256(envelope).digest(),
        envelope_size=len(envelope),
        type=channel_header["type"],
        channel_id=channel_header["channel_id"],
        tx_id=channel_header["tx_id"],
        timestamp=_timestamp(channel_header["timestamp"]),
        creator=_certificate(creator["mspid"], _b64(creator["id_bytes"])) if creator else None,
        chaincode_id=named[0] if named else None,
        actions=actions,
        config=_config(config) if config else None,
        lifecycle=_lifecycle(actions[0].args) if named[:1] == ["_lifecycle"] else None,
        errors=(),
    )


def _timestamp(text: str) -> Timestamp:
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int((datetime.fromisoformat(f"{whole}+00:00") - _EPOCH).total_seconds())
    return Timestamp(seconds, int(fraction.ljust(9, "0")))


def _action(payload: Json) -> Action:
    chaincode_input = payload["chaincode_proposal_payload"]["input"]["chaincode_spec"]["input"]
    result = payload["action"]["proposal_response_payload"]["extension"]
    chaincode, response, event = result["chaincode_id"], result["response"], result["events"]
    return Action(
        chaincode=Chaincode(chaincode["name"], chaincode["version"]),
        args=tuple(_b64(argument) for argument in chaincode_input["args"]),
        is_init=chaincode_input["is_init"],
        endorsers=tuple(_identity(_b64(e["endorser"])) for e in payload["action"]["endorsements"]),
        response=Response(response["status"], response["message"], _b64(response["payload"])),
        rwsets=tuple(_rwset(rwset) for rwset in result["results"]["ns_rwset"]),
        event=ChaincodeEvent(
            event["chaincode_id"], event["tx_id"], event["event_name"], _b64(event["payload"])
        )
        if event
        else None,
    )


def _rwset(ns: Json) -> ReadWriteSet:
    kv = ns["rwset"] or {"reads": [], "writes": [], "range_queries_info": [], "metadata_writes": []}
    return ReadWriteSet(
        namespace=ns["namespace"],
        reads=_reads(kv["reads"]),
        writes=tuple(
            Write(write["key"], _b64(write["value"]), write["is_delete"]) for write in kv["writes"]
        ),
        range_queries=tuple(
            RangeQuery(
                start_key=query["start_key"],
                end_key=query["end_key"],
                exhausted=query["itr_exhausted"],
                reads=_reads(query["raw_reads"]["kv_reads"]),
                merkle=None,
            )
            for query in kv["range_queries_info"]
        ),
        metadata_writes=tuple(
            MetadataWrite(
                write["key"],
                tuple(
                    MetadataEntry(entry["name"], _b64(entry["value"])) for entry in write["entries"]
                ),
            )
            for write in kv["metadata_writes"]
        ),
        collections=tuple(_collection(collection) for collection in ns["collection_hashed_rwset"]),
    )


def _reads(reads: list[Json]) -> tuple[Read, ...]:
    return tuple(
        Read(
            read["key"],
            Version(int(version["block_num"]), int(version["tx_num"])) if version else None,
        )
        for read in reads
        for version in (read["version"],)
    )


def _collection(collection: Json) -> CollectionHashes:
    hashed = Message(_b64(collection["hashed_rwset"]))
    return CollectionHashes(
        collection=collection["collection_name"],
        reads=tuple(
            HashedRead(
                read.data(1),
                Version(version.integer(1), version.integer(2)) if read.has(2) else None,
            )
            for read in map(Message, hashed.each(1))
            for version in (read.message(2),)
        ),
        writes=tuple(
            HashedWrite(
                key_hash=write.data(1),
                value_hash=write.data(3),
                is_delete=bool(write.integer(2)),
                is_purge=bool(write.integer(4)),
            )
            for write in map(Message, hashed.each(2))
        ),
        metadata_writes=tuple(
            MetadataWrite(
                write.data(1),
                tuple(MetadataEntry(e.text(1), e.data(2)) for e in map(Message, write.each(2))),
            )
            for write in map(Message, hashed.each(3))
        ),
        private_rwset_hash=_b64(collection["pvt_rwset_hash"]),
    )


def _lifecycle(args: tuple[bytes, ...]) -> Lifecycle | None:
    function, definition = args[0].decode(), Message(args[1])
    if function not in ("ApproveChaincodeDefinitionForMyOrg", "CommitChaincodeDefinition"):
        return None
    approves = function.startswith("Approve")
    return Lifecycle(
        kind="approve" if approves else "commit",
        name=definition.text(2),
        version=definition.text(3),
        sequence=definition.integer(1),
        init_required=bool(definition.integer(8)),
        collections=tuple(
            Message(config).message(1).text(1) for config in definition.message(7).each(1)
        ),
        package_id=definition.message(9).message(2).text(1) if approves else None,
    )


def _config(config: Json) -> ChannelConfig:
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
                _fingerprint(_b64(root)) for root in msp["config"]["root_certs"]
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
            _fingerprint(_b64(node["identity"])),
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
    return f"{n_out_of['n']} of ({', '.join(principals[rule['signed_by']] for rule in n_out_of['rules'])})"


def _identity(serialized: bytes) -> Identity:
    identity = Message(serialized)
    return _certificate(identity.text(1), identity.data(2))


def _certificate(msp_id: str, pem: bytes) -> Identity:
    names = reversed(list(x509.load_pem_x509_certificate(pem).subject))
    return Identity(
        msp_id=msp_id,
        kind="x509",
        subject=",".join(f"{_RFC4514[name.oid]}={name.value!s}" for name in names),
        fingerprint=_fingerprint(pem),
    )


def _fingerprint(pem: bytes) -> str:
    body = "".join(line for line in pem.decode().splitlines() if not line.startswith("-----"))
    return sha256(b64decode(body)).hexdigest()


def _b64(text: str | None) -> bytes:
    return b64decode(text or "")
