"""The verdicts on recorded and forged envelopes agree with the codes that Fabric's peers gave."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice

import pytest
from google.protobuf.message import Message

from devnet.forge.envelopes import Chaincode, EndorserTransaction
from devnet.forge.forger import Recipe, forge
from devnet.forge.identities import Signer
from devnet.forge.network import Network
from devnet.forge.world_state import Simulation, WorldState
from ledger.trust.chaincode_definitions import ChaincodeDefinitions
from ledger.trust.contradictions import contradiction
from ledger.trust.envelopes import verify_envelope
from ledger.trust.verdicts import Check, CheckName, EnvelopeVerdict, Result
from protos.chaincode_pb2 import ChaincodeSpec
from protos.common_pb2 import Envelope, Payload
from protos.transaction_pb2 import (
    BAD_CREATOR_SIGNATURE,
    BAD_PROPOSAL_TXID,
    ENDORSEMENT_POLICY_FAILURE,
    MVCC_READ_CONFLICT,
    VALID,
    ChaincodeActionPayload,
    Endorsement,
    Transaction,
)
from tests.ledger.recorded import NAMES, Name, recorded
from tests.ledger.trusted_chain import TrustedEnvelope, flipped, follow_envelopes

_KEY_POLICY = "kindledger: a written key may have an endorsement policy of its own"
_REASONS = {
    "raft-2.5": {_KEY_POLICY: 2, "the orderers decided": 3, "nobody signs the genesis block": 1},
    "bft-3.1": {"the orderers decided": 2, "nobody signs the genesis block": 1},
}
"""The reasons why VALID envelopes of the recorded ledgers are not checked wholly."""

each_ledger = pytest.mark.parametrize("name", NAMES)


@each_ledger
def test_every_valid_recorded_envelope_is_signed_and_endorsed(name: Name) -> None:
    unchecked: Counter[str] = Counter()
    for _, _, number, _, code, verdict in follow_envelopes(recorded(name).blocks):
        if code == VALID and verdict.result is not Result.VALID:
            assert verdict.result is Result.NOT_CHECKED
            assert number == 0 or verdict.creator == verdict.transaction == Check(Result.VALID)
            unchecked[next(r for r in _REASONS[name] if verdict.reason.startswith(r))] += 1
        elif code == VALID:
            assert set(verdict.organisations) <= {"Org1MSP", "Org2MSP"}
            assert verdict.organisations
    assert unchecked == _REASONS[name]


@each_ledger
def test_the_verdicts_contradict_no_code_of_a_recorded_ledger(name: Name) -> None:
    codes: Counter[int] = Counter()
    for _, _, number, _, code, verdict in follow_envelopes(recorded(name).blocks):
        assert contradiction(code, verdict) is None, (number, code, verdict)
        if code == ENDORSEMENT_POLICY_FAILURE:
            assert verdict.endorsement.result is Result.INVALID
            assert len(verdict.organisations) == 1
            codes[code] += 1
    assert codes[ENDORSEMENT_POLICY_FAILURE] == {"raft-2.5": 7, "bft-3.1": 0}[name]


def test_the_verdicts_contradict_no_code_of_a_hostile_chain() -> None:
    recipe = Recipe(seed=21, invalid_share=0.25, hostile_share=0.4, transactions_per_block=6)
    failed: Counter[int] = Counter()
    for _, _, number, _, code, verdict in follow_envelopes(
        block.data for block in islice(forge(recipe), 120)
    ):
        assert contradiction(code, verdict) is None, (number, code, verdict)
        checks: dict[int, Check] = {
            BAD_CREATOR_SIGNATURE: verdict.creator,
            BAD_PROPOSAL_TXID: verdict.transaction,
            ENDORSEMENT_POLICY_FAILURE: verdict.endorsement,
        }
        check = checks.get(code)
        if check is not None:
            assert check.result is Result.INVALID
            failed[code] += 1
    assert all(failed[c] for c in (BAD_CREATOR_SIGNATURE, BAD_PROPOSAL_TXID)), failed
    assert failed[ENDORSEMENT_POLICY_FAILURE]


def test_a_code_that_a_peer_changed_is_a_contradiction() -> None:
    chain = list(follow_envelopes(recorded("raft-2.5").blocks))
    failed = next(e.verdict for e in chain if e.code == ENDORSEMENT_POLICY_FAILURE)
    good = next(e.verdict for e in chain if e.code == VALID and e.verdict.result is Result.VALID)
    for code in (VALID, MVCC_READ_CONFLICT):
        found = contradiction(code, failed)
        assert found is not None
        assert found.check is CheckName.ENDORSEMENT
        assert "do not satisfy the policy" in found.reason
    for code in (BAD_CREATOR_SIGNATURE, BAD_PROPOSAL_TXID, ENDORSEMENT_POLICY_FAILURE):
        found = contradiction(code, good)
        assert found is not None
        assert "is valid" in found.reason


def test_every_flipped_bit_of_an_envelope_is_found() -> None:
    chosen = _endorsed_by_both()
    assert verify(chosen, chosen.envelope).result is Result.VALID
    for bit in range(0, 8 * len(chosen.envelope), 11):
        verdict = verify(chosen, flipped(chosen.envelope, bit))
        assert verdict.result is Result.INVALID, bit
        assert verdict.reason


class Client:
    """A client of a forged network that signs whatever it likes."""

    def __init__(self) -> None:
        recipe = Recipe(seed=14, transactions_per_block=1)
        self.network: Network = recipe.network()
        *_, last = follow_envelopes(block.data for block in islice(forge(recipe), 12))
        self.trust, self.definitions = last.trust, last.definitions

    def transaction(self, chaincode: str, *endorsers: Signer) -> EndorserTransaction:
        """Return a transaction that writes one key of a chaincode."""
        simulation = Simulation(WorldState(write_once=()))
        simulation.put(chaincode, "note:1", b"x")
        return EndorserTransaction(
            channel=self.network.channel,
            chaincode=Chaincode(chaincode, "1.0", ChaincodeSpec.NODE),
            args=[b"put"],
            creator=self.network.client,
            endorsers=endorsers,
            nonce=b"n",
            timestamp=None,
            results=simulation.results(),
        )

    def verdict(self, envelope: bytes) -> EnvelopeVerdict:
        return verify_envelope(self.trust, self.definitions, envelope)

    def resealed(self, envelope: bytes, change: Callable[[ChaincodeActionPayload], None]) -> bytes:
        """Return the envelope with a changed action, signed by its creator again."""
        payload = Payload.FromString(Envelope.FromString(envelope).payload)
        transaction = Transaction.FromString(payload.data)
        action = ChaincodeActionPayload.FromString(transaction.actions[0].payload)
        change(action)
        transaction.actions[0].payload = action.SerializeToString()
        payload.data = transaction.SerializeToString()
        signed = payload.SerializeToString()
        return Envelope(
            payload=signed, signature=self.network.client.sign(signed)
        ).SerializeToString()


@pytest.fixture(scope="module")
def client() -> Client:
    return Client()


def test_a_creator_cannot_change_what_was_endorsed(client: Client) -> None:
    envelope = client.transaction("kindledger", *client.network.endorsers).seal()
    assert client.verdict(envelope).result is Result.VALID

    def flip(field: Callable[[ChaincodeActionPayload], tuple[Message, str]], bit: int) -> bytes:
        def change(action: ChaincodeActionPayload) -> None:
            message, name = field(action)
            setattr(message, name, flipped(getattr(message, name), bit))

        return client.resealed(envelope, change)

    signatures: list[Callable[[ChaincodeActionPayload], tuple[Message, str]]] = [
        lambda action: (action.action.endorsements[0], "signature"),
        lambda action: (action.action.endorsements[1], "signature"),
        lambda action: (action.action.endorsements[1], "endorser"),
    ]
    for field in signatures:
        for bit in range(0, 8 * 70, 3):
            verdict = client.verdict(flip(field, bit))
            assert verdict.creator.result is Result.VALID
            assert verdict.endorsement.result is Result.INVALID
            assert len(verdict.organisations) == 1
    for bit in range(8 * 20):
        verdict = client.verdict(flip(lambda action: (action, "chaincode_proposal_payload"), bit))
        assert (verdict.creator.result, verdict.transaction.result) == (
            Result.VALID,
            Result.INVALID,
        )
    for bit in range(0, 8 * 80, 3):
        verdict = client.verdict(
            flip(lambda action: (action.action, "proposal_response_payload"), bit)
        )
        assert verdict.result is Result.INVALID
        assert not verdict.organisations


def test_one_endorser_does_not_count_twice(client: Client) -> None:
    one, two = client.network.endorsers
    for endorsers in ((one,), (one, one), (two,), (two, two, two), ()):
        verdict = client.verdict(client.transaction("kindledger", *endorsers).seal())
        assert verdict.endorsement.result is Result.INVALID
        assert verdict.organisations == tuple(sorted({signer.mspid for signer in endorsers}))

    def repeat_with_other_text(action: ChaincodeActionPayload) -> None:
        other = Signer(one.mspid, b"a comment\n" + one.certificate + b"\n\n", one._key)
        message = action.action.proposal_response_payload + other.serialized
        action.action.endorsements.append(
            Endorsement(endorser=other.serialized, signature=other.sign(message))
        )

    sealed = client.transaction("kindledger", one).seal()
    assert client.verdict(client.resealed(sealed, repeat_with_other_text)).result is Result.INVALID


def test_a_certificate_without_a_role_neither_creates_nor_endorses(client: Client) -> None:
    one, two = client.network.endorsers
    authority = client.network.organisations[0].authority
    stranger = authority.enroll(one.mspid, "stranger.org1.example.com", "sales")
    created = client.transaction("kindledger", one, two)
    created.creator = stranger
    created.use_computed_id()
    verdict = client.verdict(created.seal())
    assert verdict.creator.result is Result.INVALID
    assert "no unit of client" in verdict.reason
    verdict = client.verdict(client.transaction("kindledger", stranger, two).seal())
    assert verdict.endorsement.result is Result.INVALID
    assert verdict.organisations == ("Org2MSP",)


def test_clients_and_administrators_do_not_endorse(client: Client) -> None:
    first, second = client.network.organisations
    for pair in ((first.peer, second.clients[0]), (first.admin, second.peer)):
        verdict = client.verdict(client.transaction("kindledger", *pair).seal())
        assert verdict.endorsement.result is Result.INVALID
        assert verdict.organisations == ("Org1MSP", "Org2MSP")


def test_the_policy_of_every_written_chaincode_counts(client: Client) -> None:
    one, two = client.network.endorsers
    alone = client.transaction("token", one)
    assert client.verdict(alone.seal()).result is Result.VALID
    simulation = Simulation(WorldState(write_once=()))
    simulation.put("token", "bal:x", b"1")
    simulation.put("kindledger", "note:1", b"x")
    for endorsers, result in (((one,), Result.INVALID), ((one, two), Result.VALID)):
        both = client.transaction("token", *endorsers)
        both.results = simulation.results()
        assert client.verdict(both.seal()).endorsement.result is result


def test_a_chaincode_without_a_definition_has_no_policy(client: Client) -> None:
    envelope = client.transaction("unknown", *client.network.endorsers).seal()
    verdict = client.verdict(envelope)
    assert verdict.endorsement.result is Result.INVALID
    assert "no definition of the chaincode 'unknown' is committed" in verdict.reason
    later = ChaincodeDefinitions(complete=False)
    assert verify_envelope(client.trust, later, envelope).result is Result.NOT_CHECKED


def test_a_definition_is_in_force_from_the_next_block_on() -> None:
    chain = list(islice(forge(Recipe(seed=15, transactions_per_block=1)), 10))
    states = {e.number: e.definitions for e in follow_envelopes(block.data for block in chain)}
    committed, _ = (
        block.number
        for block in chain
        if [s.function for s in block.submissions] == ["CommitChaincodeDefinition"]
    )
    assert states[committed].find("kindledger") is None
    definition = states[committed + 1].find("kindledger")
    assert definition is not None
    assert definition.plugin == "vscc"
    assert definition.collections == {"donorPrivate": False, "org1Private": False}
    assert states[committed + 1].find("token") is None


def test_expired_certificates_are_reported_and_change_no_result() -> None:
    late = datetime(2100, 1, 1, tzinfo=UTC)
    chain = list(follow_envelopes(recorded("bft-3.1").blocks, at=late))
    now = list(follow_envelopes(recorded("bft-3.1").blocks, at=datetime(2026, 12, 1, tzinfo=UTC)))
    assert [e.verdict.result for e in chain] == [e.verdict.result for e in now]
    assert all(e.verdict.expired for e in chain[1:])
    assert not any(e.verdict.expired for e in now)


def verify(chosen: TrustedEnvelope, envelope: bytes) -> EnvelopeVerdict:
    return verify_envelope(chosen.trust, chosen.definitions, envelope)


def _endorsed_by_both() -> TrustedEnvelope:
    return next(
        e
        for e in follow_envelopes(recorded("raft-2.5").blocks)
        if e.verdict.result is Result.VALID and len(e.verdict.organisations) == 2
    )
