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


def remove_key(files: Files) -> None:
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
        (remove_key, "files", "key.pem: cannot be read"),
        (swap_key, "files", "does not belong"),
        (date_back, "validity", "expired on"),
        (date_forward, "validity", "not valid before"),
    ],
)
async def test_an_identity_that_cannot_be_used_fails_its_step(
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


async def test_a_missing_identity_is_named(files: Files) -> None:
    checks = await run_checks(
        {
            "fabric": files.fabric("grpc://peer0.invalid:7051", msp_id=None),
            "channels": {CHANNEL: {}},
        }
    )
    assert checks_of(checks, "identity")["files"].detail.startswith("fabric.msp_id")


async def test_a_client_certificate_with_the_key_of_another_is_named(files: Files) -> None:
    (files.folder / "client.key").write_bytes(SERVER.key)
    async with peer_of() as peer:
        checks = await run_checks(
            {"fabric": files.fabric(f"grpcs://localhost:{peer.port}"), "channels": {CHANNEL: {}}}
        )
    failure = only_failure(checks)
    assert (failure.name, "does not belong" in failure.detail) == ("client tls: files", True)
    assert checks_of(checks, "peer")["tls"].detail == "needs client tls: files"


@pytest.mark.parametrize(("mode", "readers"), [(0o640, "its group"), (0o604, "every user")])
@pytest.mark.parametrize(("name", "part"), [("key.pem", "identity"), ("client.key", "client tls")])
async def test_a_private_key_that_others_can_read_is_a_warning(
    files: Files, name: str, part: str, mode: int, readers: str
) -> None:
    fabric = files.fabric("grpc://peer0.invalid:7051")
    protected = await run_checks({"fabric": fabric})
    assert checks_of(protected, f"{part}: permissions")["permissions"].outcome is Outcome.OK
    (files.folder / name).chmod(mode)
    check = checks_of(await run_checks({"fabric": fabric}), f"{part}: permissions")["permissions"]
    assert (check.outcome, check.exit_code) == (Outcome.WARNING, None)
    assert check.detail.startswith(f"{files.folder / name}: {readers} ")
    assert f"{mode:04o}" in check.detail
    assert "chmod 600" in str(check.advice)


async def test_the_only_key_in_a_keystore_folder_is_the_one_that_is_checked(files: Files) -> None:
    folder = files.folder / "keystore"
    folder.mkdir()
    key = (files.folder / "key.pem").rename(folder / "key.pem")
    key.chmod(0o644)
    fabric = files.fabric("grpc://peer0.invalid:7051", key=folder)
    checks = checks_of(await run_checks({"fabric": fabric}), "identity")
    assert checks["permissions"].outcome is Outcome.WARNING
    assert str(key) in checks["permissions"].detail
    assert checks["validity"].outcome is Outcome.OK
