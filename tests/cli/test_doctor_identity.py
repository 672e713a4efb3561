"""`kindledger doctor` with identities and client certificates that cannot be used."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from cli.doctor.checks import Outcome
from tests.cli.peers import peer_of
from tests.cli.support import (
    CHANNEL,
    SERVER,
    Files,
    checks_of,
    only_failure,
    run_checks,
)

DAY = timedelta(days=1)


def lose_key(files: Files) -> None:
    (files.folder / "key.pem").unlink()


def swap_key(files: Files) -> None:
    (files.folder / "key.pem").write_bytes(SERVER.key)


def date_back(files: Files, shift: timedelta = -2 * DAY) -> None:
    start = datetime.now(UTC) + shift
    pair = trustme.CA().issue_cert("reader", not_before=start, not_after=start + DAY)
    pair.cert_chain_pems[0].write_to_path(files.folder / "cert.pem")
    pair.private_key_pem.write_to_path(files.folder / "key.pem")


def date_forward(files: Files) -> None:
    date_back(files, DAY)


@pytest.mark.parametrize(
    ("breaks", "step", "detail"),
    [
        (lose_key, "files", "key.pem: cannot be read"),
        (swap_key, "files", "does not belong"),
        (date_back, "validity", "expired on"),
        (date_forward, "validity", "not valid before"),
    ],
)
async def test_an_identity_that_cannot_be_used(
    files: Files, breaks: Callable[[Files], None], step: str, detail: str
) -> None:
    breaks(files)
    async with peer_of() as peer:
        checks = await run_checks(
            {"fabric": files.fabric(f"grpcs://localhost:{peer.port}"), "channels": {CHANNEL: {}}}
        )
    failure = only_failure(checks)
    assert failure.name == f"identity: {step}"
    assert detail in failure.detail
    assert [check.outcome for check in checks if check.name.startswith("peer")] == [
        Outcome.OK
    ] * 3 + [Outcome.SKIPPED]


async def test_an_identity_that_is_not_configured_and_a_peer_that_is(files: Files) -> None:
    checks = await run_checks(
        {
            "fabric": files.fabric("grpc://peer0.invalid:7051", msp_id=None),
            "channels": {CHANNEL: {}},
        }
    )
    assert checks_of(checks, "identity")["files"].detail.startswith("fabric.msp_id")


async def test_a_client_certificate_whose_key_is_another_one(files: Files) -> None:
    (files.folder / "client.key").write_bytes(SERVER.key)
    async with peer_of() as peer:
        checks = await run_checks(
            {"fabric": files.fabric(f"grpcs://localhost:{peer.port}"), "channels": {CHANNEL: {}}}
        )
    failure = only_failure(checks)
    assert (failure.name, "does not belong" in failure.detail) == ("client tls: files", True)
    assert checks_of(checks, "peer")["tls"].detail == "needs client tls: files"
