"""The peer refuses requests without the right to read, by Fabric's rules."""

import time
from datetime import timedelta

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec.structs import replace

from devnet.peer import Authority, KeyPair, Ledger, Peer, ServerTls
from devnet.peer.channel_config import organisations
from tests.devnet.deliver_client import (
    BLOCKS,
    CHANNEL,
    CLIENT_TLS,
    MEMBER,
    MEMBERSHIP,
    MUTUAL_TLS,
    NEWEST,
    NEXT_COMMIT,
    ORG1,
    SERVER,
    TLS_AUTHORITY,
    Seek,
    at,
    outline,
    read,
    request,
    signature,
    stream,
)

MINUTE = 60

OTHER_AUTHORITY = Authority("org1")

AUTHORITY_AS_MEMBER = KeyPair(
    ORG1.certificate, ORG1._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
)

REFUSALS: dict[str, tuple[Seek | bytes, str]] = {
    "no timestamp": (Seek(age=None), "400"),
    "an old timestamp": (Seek(age=16 * MINUTE), "400"),
    "a timestamp in the future": (Seek(age=-16 * MINUTE), "400"),
    "no certificate hash": (Seek(tls_certificate=None), "400"),
    "another certificate's hash": (Seek(tls_certificate=SERVER.certificate), "400"),
    "an envelope that cannot be parsed": (b"\xff\xff\xff", "400"),
    "an empty envelope": (b"", "400"),
    "a payload that cannot be parsed": (
        Seek(damage=lambda e: setattr(e, "payload", b"\xff")),
        "400",
    ),
    "an unknown channel": (Seek(channel="unknown"), "404"),
    "no signature": (Seek(damage=lambda e: setattr(e, "signature", b"")), "403"),
    "another key's signature": (
        Seek(damage=lambda e: setattr(e, "signature", signature(CLIENT_TLS, e.payload))),
        "403",
    ),
    "a signature with a high S": (Seek(low_s=False), "403"),
    "an identity of another authority with equal names": (
        Seek(member=OTHER_AUTHORITY.issue("reader")),
        "403",
    ),
    "a member of another organisation": (Seek(mspid="Org2MSP"), "403"),
    "no certificate": (Seek(member=replace(MEMBER, certificate=b"none")), "403"),
    "an authority's own certificate": (Seek(member=AUTHORITY_AS_MEMBER), "403"),
    "an expired certificate, without a block to send": (
        Seek(NEXT_COMMIT, at(99), member=ORG1.issue("reader", lifetime=timedelta(minutes=-1))),
        "403",
    ),
}


@pytest.mark.parametrize(("request_", "expected"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_request_without_the_right_to_read_is_refused(
    peer: Peer, request_: Seek | bytes, expected: str
) -> None:
    assert outline(await request(peer, request_)) == [expected]


async def test_a_small_difference_of_clocks_is_accepted(peer: Peer) -> None:
    assert outline(await request(peer, Seek(NEWEST, NEWEST, age=14 * MINUTE))) == [9, "200"]


async def test_the_right_to_read_ends_with_the_certificate() -> None:
    now, ledger = time.time(), Ledger(BLOCKS[:9])
    member = ORG1.issue("reader", lifetime=timedelta(minutes=5))
    async with (
        Peer(
            {CHANNEL: ledger}, tls=MUTUAL_TLS, organisations=MEMBERSHIP, clock=lambda: now
        ) as peer,
        stream(peer, Seek(at(8), at(9), member=member)) as call,
    ):
        assert outline([await read(call)]) == [8]
        now += 6 * MINUTE
        ledger.append(BLOCKS[9])
        assert outline([await read(call)]) == ["403"]


async def test_a_certificate_gives_no_right_before_its_time() -> None:
    def two_hours_ago() -> float:
        return time.time() - 120 * MINUTE

    ledgers = {CHANNEL: Ledger(BLOCKS)}
    async with Peer(ledgers, tls=MUTUAL_TLS, organisations=MEMBERSHIP, clock=two_hours_ago) as peer:
        assert outline(await request(peer, Seek(age=120 * MINUTE))) == ["403"]


async def test_mutual_tls_fails_in_the_handshake_without_a_client_certificate(peer: Peer) -> None:
    credentials = grpc.ssl_channel_credentials(TLS_AUTHORITY.certificate)
    async with grpc.aio.secure_channel(peer.address, credentials) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.stream_stream("/protos.Deliver/Deliver")().read()
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("tls", [ServerTls(SERVER), None])
async def test_without_mutual_tls_no_certificate_hash_is_needed(tls: ServerTls | None) -> None:
    async with Peer({CHANNEL: Ledger(BLOCKS)}, tls=tls, organisations=MEMBERSHIP) as peer:
        seek = Seek(NEWEST, NEWEST, tls_certificate=None)
        assert outline(await request(peer, seek, tls=tls is not None)) == [9, "200"]


def test_the_organisations_are_those_of_the_channel_configuration() -> None:
    assert organisations(BLOCKS[0]) == MEMBERSHIP
    for no_config in (BLOCKS[1], b"", b"\xff"):
        with pytest.raises(ValueError, match="configuration"):
            organisations(no_config)
