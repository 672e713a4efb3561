"""Wrong certificates, names and MSP ids. The error names the cause, and corrections are read.

Only the read right protects the ledger from strangers, so the peer must reject each of these.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from devnet.peer import Authority, Ledger, Peer
from indexer.pipeline.channel_indexer import PeerTimeouts
from indexer.sources.peer_source import PeerSource
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState
from runtime.retry import GaveUpError
from tests.indexer.network import (
    CLIENT,
    NETWORK,
    TLS_AUTHORITY,
    TRUNK,
    WITHIN_S,
    Client,
    RunningIndexer,
    assert_stored,
    indexing,
    peer_of,
)
from tests.indexer.support import CHANNEL

STRANGER = Authority("stranger")
SHORT_BUDGET = PeerTimeouts(poll_s=0.1, stall_s=20.0, peer_retry_s=0.2)
"""The retry budget allows a few attempts."""


def expired_identity(client: Client) -> Client:
    """Write an identity whose certificate was valid until last year."""
    authority = NETWORK.organisations[0].authority
    authority.enroll(
        "Org1MSP", "late@org1", "client", valid_to=datetime(2025, 1, 1, tzinfo=UTC)
    ).write(client.folder)
    return client


def foreign_identity(client: Client) -> Client:
    """Write an identity of another organisation, used with the first one's MSP id."""
    NETWORK.organisations[1].clients[0].write(client.folder)
    return client


def wrong_msp(client: Client) -> Client:
    return replace(client, msp_id="Org2MSP")


def expired_tls(client: Client) -> Client:
    client.use_tls(TLS_AUTHORITY.issue("client", lifetime=timedelta(minutes=-30)))
    return client


def foreign_tls(client: Client) -> Client:
    client.use_tls(STRANGER.issue("client"))
    return client


def foreign_ca(client: Client) -> Client:
    (client.folder / "ca.pem").write_bytes(STRANGER.certificate)
    return client


def writes(name: str, content: bytes) -> Callable[[Client], Client]:
    def spoil(client: Client) -> Client:
        (client.folder / name).write_bytes(content)
        return client

    return spoil


def no_key(client: Client) -> Client:
    (client.folder / "key.pem").unlink()
    return client


NO_RIGHT = (
    "no read right on the channel, its certificate is expired or revoked, "
    "or the MSP id does not belong to its issuer"
)
REFUSED: dict[str, tuple[Callable[[Client], Client], str]] = {
    "an expired identity": (expired_identity, NO_RIGHT),
    "another organisation's identity": (foreign_identity, NO_RIGHT),
    "a wrong MSP id": (wrong_msp, NO_RIGHT),
    "an expired TLS certificate": (expired_tls, "does not accept the client's TLS certificate"),
    "a TLS certificate of another CA": (
        foreign_tls,
        "does not accept the client's TLS certificate",
    ),
    "another CA trusted": (foreign_ca, "not issued by the configured tls_ca"),
    "a file that is no CA": (
        writes("ca.pem", b"?"),
        "tls_ca, or the TLS certificate and key of the client, cannot be",
    ),
    "a TLS key that does not fit": (
        writes("client.key", STRANGER.issue("x").key),
        "TLS certificate and key of the",
    ),
    "a TLS certificate half written": (
        writes("client.pem", CLIENT.certificate[:99]),
        "certificate or key cannot",
    ),
    "a key that does not fit": (
        writes("key.pem", STRANGER.issue("x").key),
        "key.pem does not belong to",
    ),
    "no key": (no_key, "key.pem: cannot be read: No such file"),
}


def source_with(peer: Peer, client: Client, **changes: object) -> PeerSource:
    """Return a source of the peer's blocks, with some fields of its endpoint changed."""
    endpoint = client.endpoint(peer.address)
    return PeerSource(msgspec.structs.replace(endpoint, **changes), CHANNEL, client.identity)


async def complaint_of(store: LedgerStore, source: PeerSource) -> str:
    """Return the message with which the daemon gives up."""
    with pytest.raises(
        GaveUpError, match="no peer of channel kindledger could be followed"
    ) as gave_up:
        await asyncio.wait_for(
            RunningIndexer(store, [source], timeouts=SHORT_BUDGET).task, WITHIN_S
        )
    await assert_stored(store, [])
    return str(gave_up.value)


@pytest.mark.parametrize(("spoil", "complaint"), REFUSED.values(), ids=REFUSED)
async def test_a_rejected_client_learns_the_cause(
    store: LedgerStore, client: Client, spoil: Callable[[Client], Client], complaint: str
) -> None:
    async with peer_of(TRUNK) as peer:
        message = await complaint_of(store, spoil(client).source(peer))
    assert complaint in message
    assert peer.address in message


async def test_messages_name_wrong_names_and_protocols(store: LedgerStore, client: Client) -> None:
    plain = Peer({CHANNEL: Ledger(TRUNK)})
    late = peer_of(TRUNK, clock=lambda: time.time() + 3600)
    async with peer_of(TRUNK) as peer, plain, late:
        for source, complaint in (
            (source_with(peer, client, tls_name="peer9"), "for another name; set tls_name"),
            (source_with(peer, client, tls_ca=None), "it requires TLS (grpcs://)"),
            (
                source_with(peer, client, client_certificate=None, client_key=None),
                "none is configured",
            ),
            (
                source_with(plain, client),
                "it does not use TLS; if this is intended, configure it as grpc://",
            ),
            (
                source_with(late, client),
                "its clock may differ from this machine's clock by more than 15 minutes",
            ),
            (client.source("no-such-host.invalid:7051"), "no-such-host.invalid"),
            (client.source("127.0.0.1:1"), "Connection refused"),
        ):
            assert complaint in await complaint_of(store, source)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [(spoil, complaint) for spoil, complaint in REFUSED.values() if spoil is not wrong_msp],
    ids=[name for name, (spoil, _) in REFUSED.items() if spoil is not wrong_msp],
)
async def test_corrected_files_are_read_at_the_next_connection(
    store: LedgerStore, client: Client, spoil: Callable[[Client], Client], complaint: str
) -> None:
    async with peer_of(TRUNK[:12]) as peer, indexing(store, spoil(client).source(peer)) as run:
        await run.wait_until_waiting(complaint)
        Client.enrolled(client.folder)
        await run.wait_for_height(12)
        await run.until(lambda progress: progress.state is ChannelState.FOLLOWING)
    await assert_stored(store, TRUNK[:12])


async def test_an_identity_that_expires_during_delivery_can_be_replaced(
    store: LedgerStore, client: Client
) -> None:
    """Fabric checks the expiry before every block that it sends.

    The peer's clock advances past the expiry, but stays within the 15 minutes by which it may
    differ from the client's clock.
    """
    ledger, advanced_s = Ledger(TRUNK[:12]), 0.0
    expiry = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=10)
    authority = NETWORK.organisations[0].authority
    authority.enroll("Org1MSP", "brief@org1", "client", valid_to=expiry).write(client.folder)
    async with (
        peer_of(ledger, clock=lambda: time.time() + advanced_s) as peer,
        indexing(store, client.source(peer)) as run,
    ):
        await run.wait_for_height(12)
        advanced_s = 11 * 60.0
        ledger.append(TRUNK[12])
        await run.wait_until_waiting(NO_RIGHT)
        assert run.progress.committed_height == 12
        NETWORK.client.write(client.folder)
        await run.wait_for_height(13)
    await assert_stored(store, TRUNK[:13])
