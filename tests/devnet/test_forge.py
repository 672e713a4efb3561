"""The forged chains, read from outside: with the wire format, SHA-256 and the certificates inside, nothing else."""

import os
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice, pairwise
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from msgspec.structs import replace

from devnet.forge import lifecycle
from devnet.forge.chaincode_definitions import definitions
from devnet.forge.chaincodes import WRITE_ONCE
from devnet.forge.forger import ForgedBlock, Recipe, forge
from devnet.forge.gateway import Gateway
from devnet.forge.invocations import EVERYDAY, InvocationGenerator
from devnet.forge.network import Network
from devnet.forge.random_stream import RandomStream
from devnet.forge.workload import Workload
from devnet.forge.world_state import KeyVersion, Simulation, WorldState
from ledger.hashes import block_hash, data_hash, header_bytes, transaction_id
from ledger.signing import load_signing_identity
from protos.common_pb2 import (
    CONFIG,
    Block,
    ChannelHeader,
    Envelope,
    LastConfig,
    Metadata,
    OrdererBlockMetadata,
    Payload,
    SignatureHeader,
)
from protos.configuration_pb2 import ConfigEnvelope, ConfigGroup, ConfigUpdate, ConfigUpdateEnvelope
from protos.kvrwset_pb2 import HashedRWSet, KVRead, KVReadHash, KVRWSet
from protos.msp_pb2 import FabricMSPConfig, MSPConfig, SerializedIdentity
from protos.rwset_pb2 import TxReadWriteSet
from protos.transaction_pb2 import (
    BAD_PROPOSAL_TXID,
    DUPLICATE_TXID,
    ENDORSEMENT_POLICY_FAILURE,
    MVCC_READ_CONFLICT,
    PHANTOM_READ_CONFLICT,
    VALID,
)
from tests.devnet.forged import RECIPE, Read, read

HALF_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551 // 2


@pytest.fixture(scope="module")
def blocks(forged: list[ForgedBlock]) -> list[Block]:
    return [Block.FromString(block.data) for block in forged]


def honest(forged: list[ForgedBlock]) -> Iterator[tuple[int, int, int, Read]]:
    """Block number, index, code and content of every envelope that is not hostile."""
    for block in forged:
        for index, submission in enumerate(block.submissions):
            if submission.function:
                yield block.number, index, submission.code, read(submission.envelope)


def config_of(block: Block) -> ConfigEnvelope:
    return ConfigEnvelope.FromString(
        Payload.FromString(Envelope.FromString(block.data.data[0]).payload).data
    )


def verify(
    identity: bytes, signature: bytes, message: bytes, roots: dict[str, x509.Certificate]
) -> str:
    """The signer's MSP id, if its certificate is the MSP's and the signature is good and has a low S."""
    member = SerializedIdentity.FromString(identity)
    certificate = x509.load_pem_x509_certificate(member.id_bytes)
    certificate.verify_directly_issued_by(roots[member.mspid])
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(signature, message, ec.ECDSA(SHA256()))
    assert decode_dss_signature(signature)[1] <= HALF_ORDER
    return member.mspid


@pytest.fixture(scope="module")
def roots(blocks: list[Block]) -> dict[str, x509.Certificate]:
    """The root certificate of each MSP in the genesis block."""
    channel = config_of(blocks[0]).config.channel_group
    organisations = [
        *channel.groups["Application"].groups.values(),
        *channel.groups["Orderer"].groups.values(),
    ]
    msps = [
        FabricMSPConfig.FromString(MSPConfig.FromString(group.values["MSP"].value).config)
        for group in organisations
    ]
    assert all(msp.fabric_node_ous.enable and msp.tls_root_certs for msp in msps)
    return {msp.name: x509.load_pem_x509_certificate(msp.root_certs[0]) for msp in msps}


def test_blocks_are_chained_signed_and_marked(
    blocks: list[Block], roots: dict[str, x509.Certificate]
) -> None:
    previous = b""
    last_config = 0
    for number, block in enumerate(blocks):
        header = block.header
        assert header.number == number
        assert header.previous_hash == previous
        assert header.data_hash == data_hash(block.data.data)
        previous = block_hash(number, header.previous_hash, header.data_hash)
        assert len(block.metadata.metadata) == 5
        assert len(block.metadata.metadata[2]) == len(block.data.data)
        if number == 0:
            continue
        envelope = block.data.data[0]
        if len(block.data.data) == 1 and b"OrdererOrg" in envelope:
            last_config = number
        signatures = Metadata.FromString(block.metadata.metadata[0])
        value = OrdererBlockMetadata.FromString(signatures.value)
        assert value.last_config.index == last_config
        marked = Metadata.FromString(block.metadata.metadata[1])
        assert LastConfig.FromString(marked.value).index == last_config
        assert block.metadata.metadata[3] == b""
        assert len(Metadata.FromString(block.metadata.metadata[4]).value) == 32
        (signature,) = signatures.signatures
        signed = header_bytes(number, header.previous_hash, header.data_hash)
        creator = SignatureHeader.FromString(signature.signature_header).creator
        message = signatures.value + signature.signature_header + signed
        assert verify(creator, signature.signature, message, roots) == "OrdererMSP"
    assert last_config == 100


def test_genesis_is_as_a_peer_serves_it(blocks: list[Block]) -> None:
    genesis = blocks[0]
    signatures = Metadata(value=OrdererBlockMetadata(last_config=LastConfig()).SerializeToString())
    assert list(genesis.metadata.metadata) == [signatures.SerializeToString(), b"", b"\0", b"", b""]
    (data,) = genesis.data.data
    envelope = Envelope.FromString(data)
    payload = Payload.FromString(envelope.payload)
    header = ChannelHeader.FromString(payload.header.channel_header)
    signature_header = SignatureHeader.FromString(payload.header.signature_header)
    assert (header.type, header.version, header.channel_id) == (CONFIG, 1, "kindledger")
    assert header.tx_id == transaction_id(signature_header.nonce, b"")
    assert signature_header.creator == b""
    assert envelope.signature == b""
    assert 18_000 < len(genesis.SerializeToString()) < 21_000  # recorded: 19,530


def outline(group: ConfigGroup, path: str = "") -> dict[str, object]:
    """Every element of a configuration tree, with everything but the values' bytes."""
    elements: dict[str, object] = {path: (group.version, group.mod_policy)}
    for name, value in group.values.items():
        elements[f"{path}/v:{name}"] = (value.version, value.mod_policy, len(value.value) > 0)
    for name, entry in group.policies.items():
        policy = entry.policy
        elements[f"{path}/p:{name}"] = (entry.version, entry.mod_policy, policy.type, policy.value)
    for name, member in group.groups.items():
        elements.update(outline(member, f"{path}/{name}"))
    return elements


def test_configuration_and_lifecycle_equal_those_of_a_recorded_network(blocks: list[Block]) -> None:
    """The digests were taken from a real Fabric 2.5.16 channel with the same organisations and chaincodes."""
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


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:32]


def test_configuration_updates_stand_alone_without_an_id(
    blocks: list[Block], roots: dict[str, x509.Certificate]
) -> None:
    updated = [block for block in blocks if b"OrdererOrg" in block.data.data[0]]
    assert [block.header.number for block in updated] == [0, 1, 2, 100]
    for former, block in pairwise(updated):
        (data,) = block.data.data
        envelope = Envelope.FromString(data)
        payload = Payload.FromString(envelope.payload)
        assert ChannelHeader.FromString(payload.header.channel_header).tx_id == ""
        creator = SignatureHeader.FromString(payload.header.signature_header).creator
        assert verify(creator, envelope.signature, envelope.payload, roots) == "OrdererMSP"
        after = config_of(block)
        assert after.config.sequence == config_of(former).config.sequence + 1
        signed = ConfigUpdateEnvelope.FromString(Payload.FromString(after.last_update.payload).data)
        assert ConfigUpdate.FromString(signed.config_update).channel_id == "kindledger"
        for signature in signed.signatures:
            admin = SignatureHeader.FromString(signature.signature_header).creator
            verify(
                admin, signature.signature, signature.signature_header + signed.config_update, roots
            )
    application = [config_of(block).config.channel_group.groups["Application"] for block in updated]
    assert [sorted(group.groups) for group in application[2:]] == [
        ["Org1MSP", "Org2MSP"],
        ["Org1MSP", "Org2MSP", "Org3MSP"],
    ]
    assert "AnchorPeers" in application[1].groups["Org1MSP"].values
    assert application[3].groups["Org2MSP"] == application[2].groups["Org2MSP"]


def test_transactions_are_signed_and_bound_together(
    forged: list[ForgedBlock], roots: dict[str, x509.Certificate]
) -> None:
    seen: set[str] = set()
    for _, _, code, tx in honest(forged):
        creator = tx.signature_header.creator
        verify(creator, tx.envelope.signature, tx.envelope.payload, roots)
        own_id = transaction_id(tx.signature_header.nonce, creator)
        tx_id = tx.channel_header.tx_id
        assert (tx_id == own_id) == (code != BAD_PROPOSAL_TXID)
        assert (tx_id in seen) == (code == DUPLICATE_TXID) or code == BAD_PROPOSAL_TXID
        seen.add(tx_id)
        (action,) = tx.transaction.actions
        assert action.header == tx.payload.header.signature_header
        headers = tx.payload.header.channel_header + tx.payload.header.signature_header
        assert (
            tx.response.proposal_hash
            == sha256(headers + tx.action.chaincode_proposal_payload).digest()
        )
        endorsed = tx.action.action
        endorsers = [
            verify(
                each.endorser,
                each.signature,
                endorsed.proposal_response_payload + each.endorser,
                roots,
            )
            for each in endorsed.endorsements
        ]
        if code == VALID and tx.result.chaincode_id.name != "_lifecycle":
            assert endorsers == ["Org1MSP", "Org2MSP"]
        if code == ENDORSEMENT_POLICY_FAILURE:
            assert len(endorsers) == 1
        if tx.result.events:
            assert (tx.event.chaincode_id, tx.event.tx_id) == (tx.result.chaincode_id.name, tx_id)


Place = tuple[int, int]


class Replay:
    """A second opinion on the world state: who wrote which key last."""

    def __init__(self) -> None:
        self.last: dict[tuple[object, ...], Place] = {}

    def stale(self, tx: Read) -> bool:
        """True if some read saw another version than the last one."""
        return any(
            self.last.get(key)
            != ((seen.version.block_num, seen.version.tx_num) if seen.HasField("version") else None)
            for key, seen in self._reads(tx)
        )

    def phantom(self, tx: Read) -> bool:
        """True if some range query found other keys or versions than there are."""
        for namespace in tx.results.ns_rwset:
            for query in KVRWSet.FromString(namespace.rwset).range_queries_info:
                now = sorted(
                    (str(key[1]), place)
                    for key, place in self.last.items()
                    if key[0] == namespace.namespace and len(key) == 2
                    if query.start_key <= str(key[1]) < query.end_key
                )
                found = [
                    (each.key, (each.version.block_num, each.version.tx_num))
                    for each in query.raw_reads.kv_reads
                ]
                if now != found:
                    return True
        return False

    def apply(self, tx: Read, place: Place) -> None:
        for namespace in tx.results.ns_rwset:
            for write in KVRWSet.FromString(namespace.rwset).writes:
                self._write((namespace.namespace, write.key), place, is_delete=write.is_delete)
            for collection in namespace.collection_hashed_rwset:
                for hashed in HashedRWSet.FromString(collection.hashed_rwset).hashed_writes:
                    key = (namespace.namespace, collection.collection_name, hashed.key_hash)
                    self._write(key, place, is_delete=hashed.is_delete)

    def _write(self, key: tuple[object, ...], place: Place, *, is_delete: bool) -> None:
        if is_delete:
            self.last.pop(key, None)
        else:
            self.last[key] = place

    def _reads(self, tx: Read) -> Iterator[tuple[tuple[object, ...], KVRead | KVReadHash]]:
        for namespace in tx.results.ns_rwset:
            for each in KVRWSet.FromString(namespace.rwset).reads:
                yield (namespace.namespace, each.key), each
            for collection in namespace.collection_hashed_rwset:
                for hashed in HashedRWSet.FromString(collection.hashed_rwset).hashed_reads:
                    yield (namespace.namespace, collection.collection_name, hashed.key_hash), hashed


def test_versions_and_codes_are_what_a_peer_would_find(forged: list[ForgedBlock]) -> None:
    replay = Replay()
    codes: Counter[int] = Counter()
    namespaces: set[str] = set()
    for number, index, code, tx in honest(forged):
        codes[code] += 1
        namespaces.update(namespace.namespace for namespace in tx.results.ns_rwset)
        if code == VALID:
            assert not replay.stale(tx)
            assert not replay.phantom(tx)
            replay.apply(tx, (number, index))
        elif code == MVCC_READ_CONFLICT:
            assert replay.stale(tx)
        elif code == PHANTOM_READ_CONFLICT:
            assert not replay.stale(tx)
            assert replay.phantom(tx)
    assert namespaces == {"_lifecycle", "lscc", "kindledger", "token"}
    assert {code for code, count in codes.items() if count > 3} == {
        VALID,
        BAD_PROPOSAL_TXID,
        DUPLICATE_TXID,
        ENDORSEMENT_POLICY_FAILURE,
        MVCC_READ_CONFLICT,
        PHANTOM_READ_CONFLICT,
    }
    assert 0.15 < 1 - codes[VALID] / codes.total() < 0.3


def test_without_failures_everything_is_valid_and_of_the_recorded_size() -> None:
    recipe = Recipe(transactions_per_block=100, invalid_share=0, bulk=True, signed=False)
    sizes: dict[str, list[int]] = {}
    for block in islice(forge(recipe), 18):
        for submission in block.submissions:
            assert submission.code == VALID
            sizes.setdefault(submission.function, []).append(len(submission.envelope))
    for function, recorded in {"Donate": 4647, "Transfer": 4371, "Mint": 4186}.items():
        assert sum(sizes[function]) / len(sizes[function]) == pytest.approx(recorded, rel=0.03)
    assert len(sizes["Donate"]) > 300


def test_everyday_business_covers_the_recorded_kinds(forged: list[ForgedBlock]) -> None:
    recorded = [
        "CampaignCreated",
        "DonationReceived",
        "Mint",
        "Transfer",
        "Disbursed",
        "StatusUpdated",
    ]
    unusual = [
        "PrivateDonation",
        "PrivatePurged",
        "RangeCounted",
        "QuyênGóp",
        "BinaryEvent",
        "EmptyPayload",
    ]
    events = Counter(tx.event.event_name for _, _, code, tx in honest(forged) if code == VALID)
    assert {*recorded, *unusual} <= set(events)
    donation = next(tx for _, _, _, tx in honest(forged) if tx.arguments[0] == b"Donate")
    campaign, donor, amount = (argument.decode() for argument in donation.arguments[1:])
    assert donation.event.payload.decode() == (
        f'{{"docType":"donation","campaignId":"{campaign}","donor":"{donor}","amount":{amount},'
        f'"txId":"{donation.channel_header.tx_id}"}}'
    )


def test_equal_recipes_give_equal_bytes_in_every_process(forged: list[ForgedBlock]) -> None:
    program = (
        "import sys; from hashlib import sha256; from itertools import islice\n"
        "from devnet.forge.forger import forge; from tests.devnet.forged import BLOCKS, RECIPE\n"
        "sys.stdout.write(sha256(b''.join(b.data for b in islice(forge(RECIPE), BLOCKS))).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1234"}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == sha256(b"".join(block.data for block in forged)).hexdigest()


def test_another_seed_is_another_chain_and_a_branch_forks_where_it_says() -> None:
    recipe = Recipe(seed=1, transactions_per_block=3)
    trunk = [block.data for block in islice(forge(recipe), 16)]
    other = [block.data for block in islice(forge(replace(recipe, seed=2)), 2)]
    branch = [block.data for block in islice(forge(replace(recipe, branch_at=12)), 16)]
    assert other[0] != trunk[0]
    assert branch[:12] == trunk[:12]
    fork = [Block.FromString(data).header for data in (trunk[12], branch[12])]
    assert fork[0].previous_hash == fork[1].previous_hash
    assert fork[0].data_hash != fork[1].data_hash


def test_many_results_of_a_range_query_are_kept_as_hashes() -> None:
    state = WorldState(write_once=())
    writer = Simulation(state)
    for number in range(60):
        writer.put("token", f"key-{number:02}", b"x")
    state.commit(writer, KeyVersion(7, 3))
    reader = Simulation(state)
    assert len(reader.range("token", "key-", "key-~")) == 60
    (namespace,) = TxReadWriteSet.FromString(reader.results()).ns_rwset
    (query,) = KVRWSet.FromString(namespace.rwset).range_queries_info
    assert query.reads_merkle_hashes.max_degree == 50
    assert len(query.reads_merkle_hashes.max_level_hashes) == 2


def test_business_goes_on_from_a_single_campaign() -> None:
    network, state = Network(3, organisations=3, signed=False), WorldState(write_once=WRITE_ONCE)
    invocations = InvocationGenerator(EVERYDAY, accounts=1_000)
    workload = Workload(
        network, state, Gateway(network, state), invocations, invalid_share=0, hostile_share=0
    )
    (campaign,) = workload.batch(1, 1, RandomStream("first"), 0)
    many = workload.batch(2, 300, RandomStream("second"), 1_000)
    assert (campaign.function, campaign.args[0]) == ("CreateCampaign", "cd-000001")
    assert len(many) == 300
    assert {submission.code for submission in many} == {VALID}


def test_the_clients_identity_can_be_used_from_disk(
    tmp_path: Path, roots: dict[str, x509.Certificate]
) -> None:
    client = RECIPE.network().client
    client.write(tmp_path / "client")
    certificate, key = tmp_path / "client" / "cert.pem", tmp_path / "client" / "key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    loaded = load_signing_identity("Org1MSP", certificate, key)
    assert verify(loaded.creator, loaded.sign(b"seek"), b"seek", roots) == "Org1MSP"
    authority = RECIPE.network().organisations[0].authority
    expired = authority.enroll(
        "Org1MSP", "Old@org1.example.com", "client", valid_to=datetime(2025, 1, 1, tzinfo=UTC)
    )
    assert verify(expired.serialized, expired.sign(b"seek"), b"seek", roots) == "Org1MSP"
    assert x509.load_pem_x509_certificate(expired.certificate).not_valid_after_utc.year == 2025


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
"""Of each block the digests of the arguments and of the read/write set."""
