"""`kindledger doctor` as a whole: its checks, its output and its exit code."""

import asyncio
import json
import re

import pytest

from cli.commands.doctor import doctor
from cli.configuration.loading import load_settings
from cli.configuration.settings import Settings
from cli.doctor.checks import Outcome, exit_code
from cli.errors import Exit
from devnet.servers import Mongod, Redis
from tests.cli.peers import CHANNEL_STEPS, HEIGHT, PEER_STEPS, peer_of
from tests.cli.support import (
    CHANNEL,
    Files,
    Json,
    kindledger,
    only_failure,
    run_checks,
    uri_of,
)
from tests.ledger.encoders import compiled


async def test_a_sound_configuration_passes_every_check(
    files: Files, guarded_mongod: Mongod, business_database: str, redis: Redis
) -> None:
    passwords = [
        address.rpartition("@")[0].rpartition(":")[2] for address in (business_database, redis.url)
    ]
    passwords.append("kindledger_indexer-pw")
    async with peer_of() as peer:
        settings = {
            "fabric": files.fabric(f"grpcs://localhost:{peer.port}"),
            "channels": {CHANNEL: {"start_block": 0}},
            "mongo": {"uri": uri_of(guarded_mongod, "kindledger_indexer")},
            "postgres": {"dsn": business_database},
            "redis": {"url": redis.url},
        }
        result = await asyncio.to_thread(kindledger, "doctor", "--json", settings=settings)
    assert result.returncode == 0, result.stdout + result.stderr
    checks: list[Json] = json.loads(result.stdout)["checks"]
    assert {check["outcome"] for check in checks if check["name"] != "encoder"} == {"ok"}
    part = f"peer localhost:{peer.port}"
    details = {check["name"]: check["detail"] for check in checks}
    assert [name for name in details if name.startswith(part)] == [
        *(f"{part}: {step}" for step in PEER_STEPS),
        *(f"{part}, {CHANNEL}: {step}" for step in CHANNEL_STEPS),
    ]
    assert details[f"{part}, {CHANNEL}: height"].startswith(f"{HEIGHT} blocks")
    assert details["mongodb: selection"] == "ReplicaSetWithPrimary kindledger"
    assert "kindledger_indexer@admin" in details["mongodb: authentication"]
    assert not any(secret in result.stdout + result.stderr for secret in passwords)


async def test_parts_that_are_not_configured_are_skipped() -> None:
    checks = await run_checks({"channels": {"kindledger": {}}})
    assert [
        (check.name, check.outcome) for check in checks if check.outcome is not Outcome.SKIPPED
    ] == [
        ("encoder", _encoder_outcome()),
        ("archive", Outcome.OK),
        ("configuration", Outcome.OK),
    ]
    assert {"identity", "client tls", "peers", "mongodb", "postgresql", "redis"} <= {
        check.name for check in checks
    }
    assert exit_code(checks) is Exit.OK
    nothing = await run_checks({})
    assert only_failure(nothing).name == "configuration"
    assert exit_code(nothing) is Exit.CONFIGURATION, "--config was forgotten"


def test_a_wrong_configuration_is_a_failed_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KINDLEDGER_MONGO_URI", "mongodb://localhost")
    assert doctor(lambda: load_settings(None), as_json=True) is Exit.CONFIGURATION
    (check,) = json.loads(capsys.readouterr().out)["checks"]
    assert (check["name"], check["outcome"], check["exitCode"]) == ("configuration", "failed", 78)
    assert "did you mean KINDLEDGER_MONGO__URI?" in check["detail"]
    assert doctor(lambda: load_settings(None), as_json=False) is Exit.CONFIGURATION
    printed = capsys.readouterr()
    (line,) = printed.out.splitlines()
    assert re.fullmatch(r"failed +configuration  .*KINDLEDGER_MONGO__URI\?\. Correct .*", line), (
        line
    )
    assert "1 failed" in printed.err


async def test_a_channel_whose_name_cannot_be_that_of_a_database_is_named(files: Files) -> None:
    checks = await run_checks({"channels": {"config": {}}})
    assert "channels.config.database" in only_failure(checks).detail


def test_warnings_are_printed_and_counted_and_do_not_change_the_exit_code(
    mongo_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings.model_validate({"mongo": {"uri": mongo_uri}})
    assert doctor(lambda: settings, as_json=False) is Exit.OK
    printed = capsys.readouterr()
    (line,) = (line for line in printed.out.splitlines() if re.match("warning +mongodb", line))
    assert re.fullmatch(
        r"warning +mongodb: authentication +access control is off.*\. Switch .*", line
    )
    warnings = 1 if _encoder_outcome() is Outcome.OK else 2
    assert re.search(rf"\d+ checks, 0 failed, {warnings} with a warning", printed.err)
    assert doctor(lambda: settings, as_json=True) is Exit.OK
    checks: list[Json] = json.loads(capsys.readouterr().out)["checks"]
    found = {check["name"]: check for check in checks if check["outcome"] == "warning"}
    assert len(found) == warnings
    assert found["mongodb: authentication"]["exitCode"] is None
    assert all(check["advice"] for check in found.values())


def _encoder_outcome() -> Outcome:
    """Return the outcome for the encoder: a warning on a machine without a compiler."""
    return Outcome.OK if compiled() is not None else Outcome.WARNING
