"""The inventory of certificates: who signed, and whether the configuration still accepts it."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

from devnet.forge.identities import Signer
from devnet.peer import Ledger, Peer
from ledger.mongodb.certificates import (
    INVENTORY,
    CertificateStore,
    Inventory,
    SeenCertificates,
    StoredMember,
)
from ledger.mongodb.collections import CERTIFICATES, VERDICTS
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.verdicts import StoredVerdict, VerdictStore
from ledger.trust.acceptance import Judgement
from tests.eventually import eventually
from tests.indexer.changing_chain import (
    LENGTH,
    NETWORK,
    ORG1,
    ORG2,
    ORG3,
    REMOVED,
    REPLACED,
    RESTORED,
    REVOKED,
    USER,
    changing_chain,
)
from tests.indexer.crashing import CrashError
from tests.indexer.inventory import Json, fingerprint, signers_in, stored_certificates, uses_of
from tests.indexer.network import HEIGHT, RECIPE, Client, peer_of
from tests.indexer.support import CHANNEL
from tests.indexer.verifying import SIGNED, stored_verdicts, verifier_here, verifying

NO_MSP = "the channel has no MSP 'Org3MSP'"
NO_CHAIN = "no valid chain leads from the certificate to a root of its MSP"


def state_of(documents: Sequence[Json], signer: Signer) -> tuple[str, str | None, int]:
    """Return whether a certificate is accepted, why it is not, and by which configuration."""
    document = next(d for d in documents if d["_id"] == fingerprint(signer.certificate))
    return document["acceptance"], document["refusal"], document["judgedAt"]


async def test_a_certificate_that_the_configuration_no_longer_accepts_is_refused_with_the_reason(
    store: LedgerStore, client: Client
) -> None:
    """Each CONFIG block that changes an MSP judges its certificates again, also after restarts."""
    chain = changing_chain()
    ledger = Ledger(chain[: REVOKED + 1])
    async with Peer({CHANNEL: ledger}) as peer:
        source = Client(client.folder, tls=False).source(peer)
        async with verifying(store, source) as daemon:
            await daemon.until_verified(REVOKED + 1)
        documents = await stored_certificates(store)
        assert state_of(documents, USER) == ("refused", "the certificate is revoked", REVOKED)
        assert state_of(documents, ORG3.clients[0]) == ("refused", NO_MSP, REMOVED)
        assert state_of(documents, ORG2.peer) == ("accepted", None, 1)
        for block in chain[REVOKED + 1 :]:
            ledger.append(block)
        async with verifying(store, source) as daemon:
            await daemon.until_verified(LENGTH)
            assert daemon.envelopes.contradictions == 0
    documents = await stored_certificates(store)
    assert uses_of(documents) == signers_in(chain), "strangers, copies and repetitions add nothing"
    assert {
        name: state_of(documents, signer)
        for name, signer in (
            ("user", USER),
            ("other user", ORG1.clients[1]),
            ("removed", ORG3.clients[0]),
            ("replaced", ORG2.peer),
            ("orderer", NETWORK.ordering.orderer),
        )
    } == {
        "user": ("accepted", None, RESTORED),
        "other user": ("accepted", None, RESTORED),
        "removed": ("refused", NO_MSP, REMOVED),
        "replaced": ("refused", NO_CHAIN, REPLACED),
        "orderer": ("accepted", None, 0),
    }
    user = next(d for d in documents if d["_id"] == fingerprint(USER.certificate))
    assert (user["mspId"], user["nodeRole"]) == ("Org1MSP", "client")
    assert user["subject"].startswith("CN=User1@org1.example.com")
    assert user["issuer"].startswith("CN=ca.org1.example.com")
    assert (user["notBefore"].year, user["notAfter"].year) == (2024, 2044)


async def test_hostile_envelopes_add_no_certificate(store: LedgerStore, client: Client) -> None:
    async with peer_of(SIGNED) as peer, verifying(store, client.source(peer)) as daemon:
        await daemon.until_verified(HEIGHT)
    network = RECIPE.network()
    peers = [organisation.peer for organisation in network.organisations]
    admins = [organisation.admin for organisation in network.organisations]
    members = (*network.clients, *peers, *admins, network.ordering.orderer)
    assert uses_of(await stored_certificates(store)).keys() == {
        fingerprint(member.certificate) for member in members
    }


class Crashes:
    """Crashes the process before one of the calls that change the results of the verification."""

    def __init__(self, crash_at: int) -> None:
        self._crash_at, self.calls = crash_at, 0

    async def call(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work, or crash."""
        self.calls += 1
        if self.calls == self._crash_at:
            raise CrashError
        await work()


class CrashingCertificates(CertificateStore):
    """A store of certificates whose calls may crash the process."""

    def __init__(self, store: LedgerStore, crashes: Crashes) -> None:
        super().__init__(store.database)
        self._crashes = crashes

    async def add(self, seen: SeenCertificates) -> None:
        await self._crashes.call(partial(super().add, seen))

    async def record_judgements(
        self, judged: Sequence[tuple[StoredMember, Judgement]], config_block: int
    ) -> None:
        """Crash midway too: a bulk of updates may be carried out in part."""
        for part in filter(None, (judged[:1], judged[1:])):
            record = partial(super().record_judgements, part, config_block)
            await self._crashes.call(record)

    async def extend(self, since: int, inventory: Inventory) -> None:
        await self._crashes.call(partial(super().extend, since, inventory))


class CrashingVerdicts(VerdictStore):
    """A store of verdicts whose insertions may crash the process."""

    def __init__(self, store: LedgerStore, crashes: Crashes) -> None:
        super().__init__(store.database)
        self._crashes = crashes

    async def insert(self, verdicts: Sequence[StoredVerdict]) -> None:
        await self._crashes.call(partial(super().insert, verdicts))


async def test_after_a_crash_at_any_call_no_signer_of_a_verified_block_is_missing(
    store: LedgerStore, client: Client
) -> None:
    """The next process completes the inventory, which then equals that of one pass."""
    chain = changing_chain()[: REVOKED + 2]
    async with Peer({CHANNEL: Ledger(chain)}) as peer:
        source = Client(client.folder, tls=False).source(peer)
        start = partial(verifying, store, source, start_verifier=verifier_here)
        async with start() as daemon:
            await daemon.until_verified(len(chain))
        clean = await stored_certificates(store), await stored_verdicts(store)
        crashed, crash_at = True, 0
        while crashed:
            crash_at += 1
            for name in (CERTIFICATES, VERDICTS):
                await store.database[name].delete_many({})
            crashes = Crashes(crash_at)
            certificates = CrashingCertificates(store, crashes)
            verdicts = CrashingVerdicts(store, crashes)
            with suppress(CrashError):
                async with start(certificates=certificates, verdicts=verdicts) as daemon:
                    await daemon.until_verified(len(chain))
            found = uses_of(await stored_certificates(store))
            verified = len(await stored_verdicts(store))
            for key, signed in signers_in(chain[:verified]).items():
                assert found[key]["roles"] >= signed["roles"], crash_at
                assert found[key]["lastBlock"] >= signed["lastBlock"], crash_at
            async with start() as daemon:
                await daemon.until_verified(len(chain))
            assert (await stored_certificates(store), await stored_verdicts(store)) == clean
            crashed = crashes.calls >= crash_at
        assert crash_at > 12


async def test_an_inventory_that_is_removed_is_made_again(
    store: LedgerStore, client: Client
) -> None:
    """Also while the daemon runs; the verified height stays, as it does after an update."""
    chain = changing_chain()
    ledger = Ledger(chain[:RESTORED])
    async with Peer({CHANNEL: ledger}) as peer:
        source = Client(client.folder, tls=False).source(peer)
        async with verifying(store, source, start_verifier=verifier_here) as daemon:
            await daemon.until_verified(RESTORED)
            verdicts = await stored_verdicts(store)
            await store.database[CERTIFICATES].drop()
            ledger.append(chain[RESTORED])
            await daemon.until_verified(RESTORED + 1)
            certificates = await stored_certificates(store)
            assert uses_of(certificates) == signers_in(chain[: RESTORED + 1])
        await store.database[CERTIFICATES].drop()
        for block in chain[RESTORED + 1 :]:
            ledger.append(block)
        async with verifying(store, source, start_verifier=verifier_here) as daemon:
            await daemon.until(lambda _: daemon.envelopes.height is not None)
            assert (daemon.envelopes.height or 0) > RESTORED
            await daemon.until_verified(LENGTH)
    assert uses_of(await stored_certificates(store)) == signers_in(chain)
    assert (await stored_verdicts(store))[:RESTORED] == verdicts


async def test_an_inventory_of_another_chain_is_not_continued(
    store: LedgerStore, client: Client
) -> None:
    chain = changing_chain()
    ledger = Ledger(chain[:RESTORED])
    async with Peer({CHANNEL: ledger}) as peer:
        source = Client(client.folder, tls=False).source(peer)
        async with verifying(store, source, start_verifier=verifier_here) as daemon:
            await daemon.until_verified(RESTORED)
        change = {"$set": {"complete.blockHash": "00"}}
        await store.database[CERTIFICATES].update_one({"_id": INVENTORY}, change)
        ledger.append(chain[RESTORED])
        async with verifying(store, source, start_verifier=verifier_here) as daemon:
            error = await eventually(lambda: daemon.envelopes.error, bool)
    assert error is not None
    assert f"certificates {RESTORED - 1}: blockHash: the chain says" in error.message
    assert uses_of(await stored_certificates(store)) == signers_in(chain[:RESTORED])
