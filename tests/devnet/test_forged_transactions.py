"""The transactions of a forged chain: signatures, versions, validation codes and events."""

from collections import Counter
from collections.abc import Iterator
from hashlib import sha256

from cryptography import x509

from devnet.forge.chaincodes import WRITE_ONCE
from devnet.forge.forger import ForgedBlock
from devnet.forge.gateway import Gateway
from devnet.forge.invocations import EVERYDAY, InvocationGenerator
from devnet.forge.network import Network
from devnet.forge.random_stream import RandomStream
from devnet.forge.workload import Workload
from devnet.forge.world_state import KeyVersion, Simulation, WorldState
from ledger.hashes import transaction_id
from protos.kvrwset_pb2 import HashedRWSet, KVRead, KVReadHash, KVRWSet
from protos.rwset_pb2 import TxReadWriteSet
from protos.transaction_pb2 import (
    BAD_PROPOSAL_TXID,
    DUPLICATE_TXID,
    ENDORSEMENT_POLICY_FAILURE,
    MVCC_READ_CONFLICT,
    PHANTOM_READ_CONFLICT,
    VALID,
)
from tests.devnet.forged_chain import ParsedTransaction, parsed_transactions
from tests.devnet.signatures import verify


def test_transactions_are_signed_and_bound_together(
    forged: list[ForgedBlock], roots: dict[str, x509.Certificate]
) -> None:
    earlier_ids: set[str] = set()
    for _, _, code, tx in parsed_transactions(forged):
        creator = tx.signature_header.creator
        verify(creator, tx.envelope.signature, tx.envelope.payload, roots)
        own_id = transaction_id(tx.signature_header.nonce, creator)
        tx_id = tx.channel_header.tx_id
        assert (tx_id == own_id) == (code != BAD_PROPOSAL_TXID)
        assert (tx_id in earlier_ids) == (code == DUPLICATE_TXID) or code == BAD_PROPOSAL_TXID
        earlier_ids.add(tx_id)
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


Version = tuple[int, int]


class Replay:
    """An independent world state, with the last writer of each key."""

    def __init__(self) -> None:
        self.last: dict[tuple[object, ...], Version] = {}

    def stale(self, tx: ParsedTransaction) -> bool:
        """Return whether a read has another version than the last one."""
        return any(
            self.last.get(key)
            != ((seen.version.block_num, seen.version.tx_num) if seen.HasField("version") else None)
            for key, seen in self._reads(tx)
        )

    def phantom(self, tx: ParsedTransaction) -> bool:
        """Return whether a range query found other keys or versions than the current ones."""
        for namespace in tx.results.ns_rwset:
            for query in KVRWSet.FromString(namespace.rwset).range_queries_info:
                current = sorted(
                    (str(key[1]), version)
                    for key, version in self.last.items()
                    if key[0] == namespace.namespace and len(key) == 2
                    if query.start_key <= str(key[1]) < query.end_key
                )
                recorded = [
                    (each.key, (each.version.block_num, each.version.tx_num))
                    for each in query.raw_reads.kv_reads
                ]
                if current != recorded:
                    return True
        return False

    def apply(self, tx: ParsedTransaction, version: Version) -> None:
        for namespace in tx.results.ns_rwset:
            for write in KVRWSet.FromString(namespace.rwset).writes:
                self._write((namespace.namespace, write.key), version, is_delete=write.is_delete)
            for collection in namespace.collection_hashed_rwset:
                for hashed in HashedRWSet.FromString(collection.hashed_rwset).hashed_writes:
                    key = (namespace.namespace, collection.collection_name, hashed.key_hash)
                    self._write(key, version, is_delete=hashed.is_delete)

    def _write(self, key: tuple[object, ...], version: Version, *, is_delete: bool) -> None:
        if is_delete:
            self.last.pop(key, None)
        else:
            self.last[key] = version

    def _reads(
        self, tx: ParsedTransaction
    ) -> Iterator[tuple[tuple[object, ...], KVRead | KVReadHash]]:
        for namespace in tx.results.ns_rwset:
            for each in KVRWSet.FromString(namespace.rwset).reads:
                yield (namespace.namespace, each.key), each
            for collection in namespace.collection_hashed_rwset:
                for hashed in HashedRWSet.FromString(collection.hashed_rwset).hashed_reads:
                    yield (namespace.namespace, collection.collection_name, hashed.key_hash), hashed


def test_versions_and_validation_codes_are_those_of_a_peer(forged: list[ForgedBlock]) -> None:
    replay = Replay()
    codes: Counter[int] = Counter()
    namespaces: set[str] = set()
    for number, index, code, tx in parsed_transactions(forged):
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


def test_everyday_transactions_have_the_recorded_events(forged: list[ForgedBlock]) -> None:
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
    events = Counter(
        tx.event.event_name for _, _, code, tx in parsed_transactions(forged) if code == VALID
    )
    assert {*recorded, *unusual} <= set(events)
    donation = next(
        tx for _, _, _, tx in parsed_transactions(forged) if tx.arguments[0] == b"Donate"
    )
    campaign, donor, amount = (argument.decode() for argument in donation.arguments[1:])
    assert donation.event.payload.decode() == (
        f'{{"docType":"donation","campaignId":"{campaign}","donor":"{donor}","amount":{amount},'
        f'"txId":"{donation.channel_header.tx_id}"}}'
    )


def test_a_range_query_with_many_results_is_recorded_as_hashes() -> None:
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


def test_a_block_of_300_transactions_follows_a_single_campaign() -> None:
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
