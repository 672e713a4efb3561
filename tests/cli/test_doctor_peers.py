"""`kindledger doctor` with real peers: each fault fails the right check."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from cli.doctor.checks import Check, Outcome, exit_code
from cli.errors import Exit
from devnet.peer import Authority, Peer, ServerTls, faults
from devnet.servers import Redis
from protos.common_pb2 import SERVICE_UNAVAILABLE
from tests.cli.peers import MUTUAL_TLS, peer_of
from tests.cli.support import (
    CHANNEL,
    SERVER,
    TLS_AUTHORITY,
    Files,
    Json,
    checks_of,
    only_failure,
    run_checks,
)
from tests.cli.tls_server import handshake_server


async def peer_failure(fabric: Json, limit_s: float = 5.0) -> tuple[str, Check, Exit]:
    """Return the step at which the only peer fails, the failed check and the exit code."""
    checks = await run_checks({"fabric": fabric, "channels": {CHANNEL: {}}}, limit_s)
    failure = only_failure(checks)
    assert failure.name.startswith("peer ")
    return failure.name.rpartition(": ")[2], failure, exit_code(checks)


async def test_a_peer_that_cannot_be_reached_fails_its_step(files: Files, closed_port: int) -> None:
    step, failure, code = await peer_failure(files.fabric("grpcs://peer0.invalid:7051"))
    assert (step, code) == ("dns", Exit.CONFIGURATION)
    assert "peer0.invalid" in failure.detail
    step, failure, code = await peer_failure(files.fabric(f"grpcs://localhost:{closed_port}"))
    assert (step, code) == ("tcp", Exit.UNAVAILABLE)
    assert "refused" in failure.detail.lower()


@pytest.mark.parametrize("scheme", ["grpc", "grpcs"])
async def test_a_port_that_never_answers_is_unavailable_after_the_limit(
    files: Files, scheme: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        step, failure, code = await peer_failure(files.fabric(address), limit_s=1.5)
    assert (step, failure.detail, code) == ("tls", "no answer within 1.5 s", Exit.UNAVAILABLE)


OTHER_AUTHORITY = Authority("tls")  # a CA with the same name, as after a new setup
LONG_AGO = -timedelta(minutes=30)


@pytest.mark.parametrize(
    ("tls", "changes", "detail", "advice"),
    [
        (
            ServerTls(OTHER_AUTHORITY.issue("peer0")),
            {},
            "not issued by a CA in tls_ca",
            "tlscacerts",
        ),
        (ServerTls(Authority("elsewhere").issue("peer0")), {}, "O=elsewhere", "tlscacerts"),
        (
            ServerTls(TLS_AUTHORITY.issue("p", hosts=["peer0.org1", "10.0.0.1"])),
            {},
            "peer0.org1, 10.0.0.1",
            "tls_name",
        ),
        (ServerTls(SERVER), {"tls_name": "peer0.org2"}, "'peer0.org2'", "ssl-target-name-override"),
        (ServerTls(TLS_AUTHORITY.issue("p", lifetime=LONG_AGO)), {}, "expired", "Renew"),
        (None, {}, "not TLS", "grpc://"),
        (
            MUTUAL_TLS,
            {"client_tls_certificate": None, "client_tls_key": None},
            "demands",
            "client_tls_certificate",
        ),
    ],
    ids=["same-name", "other-ca", "other-host", "other-tls-name", "expired", "plaintext", "mutual"],
)
async def test_the_reason_why_the_tls_of_a_peer_does_not_fit_is_named(
    files: Files, tls: ServerTls | None, changes: Json, detail: str, advice: str
) -> None:
    async with peer_of(tls) as peer:
        step, failure, code = await peer_failure(
            files.fabric(f"grpcs://localhost:{peer.port}", **changes)
        )
    assert (step, code) == ("tls", Exit.CONFIGURATION)
    assert detail in failure.detail
    assert advice in str(failure.advice)


async def test_a_client_certificate_of_an_unknown_authority_is_named(
    files: Files,
) -> None:
    files.write("client", OTHER_AUTHORITY.issue("client"))
    async with peer_of() as peer:
        step, failure, _ = await peer_failure(files.fabric(f"grpcs://localhost:{peer.port}"))
    assert step == "tls"
    assert "does not accept the client certificate" in failure.detail


@contextmanager
def alerting_server(folder: Path, version: ssl.TLSVersion, protocol: str) -> Iterator[int]:
    """Run a server that sends a TLS alert when it refuses, as Go's servers do.

    gRPC's own server closes the connection without an alert.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols([protocol])
    context.verify_mode = ssl.CERT_REQUIRED if protocol == "h2" else ssl.CERT_NONE
    context.load_verify_locations(cadata=TLS_AUTHORITY.certificate.decode())
    context.load_cert_chain(*Files(folder).write("alerting", SERVER))
    with handshake_server(context) as port:
        yield port


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_alerts_are_explained(
    files: Files, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    with alerting_server(tmp_path, version, "h2") as port:
        address = f"grpcs://localhost:{port}"
        none = files.fabric(address, client_tls_certificate=None, client_tls_key=None)
        assert "demands a client certificate" in (await peer_failure(none))[1].detail
        files.write("client", OTHER_AUTHORITY.issue("client"))
        failure = (await peer_failure(files.fabric(address)))[1]
        assert "does not accept the client certificate" in failure.detail
        assert "alert" in failure.detail
    with alerting_server(tmp_path, version, "http/1.1") as port:
        assert (
            "not HTTP/2"
            in (await peer_failure(files.fabric(f"grpcs://localhost:{port}")))[1].detail
        )


async def test_plaintext_to_a_server_that_does_not_speak_it_fails(
    files: Files, redis: Redis
) -> None:
    async with peer_of() as peer:
        step, failure, _ = await peer_failure(files.fabric(f"grpc://localhost:{peer.port}"))
    assert (step, "grpcs://" in str(failure.advice)) == ("tls", True)
    step, failure, _ = await peer_failure(
        files.fabric(f"grpc://localhost:{redis.port}"), limit_s=2.0
    )
    assert step == "tls"


async def test_a_tls_ca_that_is_not_a_certificate_is_named(files: Files) -> None:
    (files.folder / "ca.pem").write_text("not PEM")
    async with peer_of() as peer:
        step, failure, _ = await peer_failure(files.fabric(f"grpcs://localhost:{peer.port}"))
    assert (step, "no PEM certificate" in failure.detail) == ("tls", True)


@pytest.mark.parametrize(
    ("peer", "changes", "step", "advice", "code"),
    [
        (peer_of(), {"msp_id": "Org2MSP"}, "access", "msp_id", Exit.CONFIGURATION),
        (peer_of(clock=lambda: time.time() + 1000), {}, "request", "clock", Exit.CONFIGURATION),
        (Peer({}, tls=MUTUAL_TLS), {}, "channel", "join", Exit.CONFIGURATION),
        (
            peer_of(
                faults={CHANNEL: [faults.send_status(faults.from_block(0), SERVICE_UNAVAILABLE)]}
            ),
            {},
            "height",
            "not ready",
            Exit.UNAVAILABLE,
        ),
        (
            peer_of(faults={CHANNEL: [faults.stall(faults.from_block(0))]}),
            {},
            "request",
            "does not respond",
            Exit.UNAVAILABLE,
        ),
    ],
    ids=["no-right", "clock", "no-channel", "not-ready", "no-answer"],
)
async def test_the_reason_why_a_peer_refuses_is_named(
    files: Files, peer: Peer, changes: Json, step: str, advice: str, code: Exit
) -> None:
    async with peer:
        fabric = files.fabric(f"grpcs://localhost:{peer.port}", **changes)
        failed, failure, exited = await peer_failure(fabric, limit_s=2.0)
    assert (failed, exited) == (step, code)
    assert advice in str(failure.advice)


async def test_a_grpc_server_that_is_not_a_peer_is_recognised(files: Files) -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    step, failure, _ = await peer_failure(files.fabric(f"grpc://127.0.0.1:{port}"))
    await server.stop(None)
    assert (step, "orderer" in str(failure.advice)) == ("request", True)


async def test_each_peer_and_channel_is_checked_independently(
    files: Files, closed_port: int
) -> None:
    async with peer_of() as peer:
        fabric = files.fabric(f"grpcs://localhost:{peer.port}")
        fabric["peers"].append({"address": f"grpc://localhost:{closed_port}"})
        checks = await run_checks({"fabric": fabric, "channels": {CHANNEL: {}, "second": {}}})
    good, bad = (
        f"peer localhost:{peer.port}",
        f"peer {fabric['peers'][1]['address'].removeprefix('grpc://')}",
    )
    assert all(
        check.outcome is Outcome.OK for check in checks_of(checks, f"{good}, {CHANNEL}").values()
    )
    assert checks_of(checks, f"{good}, second")["channel"].outcome is Outcome.FAILED
    assert [check.outcome for check in checks_of(checks, bad).values()][:2] == [
        Outcome.OK,
        Outcome.FAILED,
    ]
