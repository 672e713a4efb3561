"""The processes of the daemon and of the API: the signals that end them, and their log."""

import json
import signal

import pytest

from tests.cli.support import CHANNEL, Files, Json, running

UNREACHABLE_PEER = "grpcs://localhost:9"
SETTINGS_OF_API = {"api": {"port": 0}}


def settings_of_daemon(mongo_uri: str, database: str, files: Files) -> Json:
    return {
        "mongo": {"uri": mongo_uri},
        "channels": {CHANNEL: {"database": database}},
        "fabric": files.fabric(UNREACHABLE_PEER),
    }


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
async def test_each_signal_ends_the_daemon_in_order_and_is_logged(
    mongo_uri: str, database_name: str, files: Files, number: signal.Signals, code: int
) -> None:
    settings = settings_of_daemon(mongo_uri, database_name, files)
    async with running("run", settings=settings) as daemon:
        await daemon.wait_for_event("channel_started")
        daemon.process.send_signal(number)
        assert (await daemon.wait_for_event("signal_received"))["signal"] == number.name
        await daemon.wait_for_event("channel_stopped")
        assert await daemon.process.wait() == code


async def test_sighup_ends_the_api(mongo_uri: str) -> None:
    settings = {"mongo": {"uri": mongo_uri}} | SETTINGS_OF_API
    async with running("api", settings=settings) as api:
        await api.wait_for_event("api_started")
        api.process.send_signal(signal.SIGHUP)
        assert (await api.wait_for_event("signal_received"))["signal"] == "SIGHUP"
        assert await api.process.wait() == 129


async def test_sighup_stays_ignored_under_nohup(mongo_uri: str) -> None:
    settings = {"mongo": {"uri": mongo_uri}} | SETTINGS_OF_API
    async with running("api", settings=settings, launcher=("nohup",)) as api:
        await api.wait_for_event("api_started")
        api.process.send_signal(signal.SIGHUP)
        api.process.send_signal(signal.SIGTERM)
        assert (await api.wait_for_event("signal_received"))["signal"] == "SIGTERM"
        assert await api.process.wait() == 143


async def test_sigint_ends_a_background_process_of_a_shell_without_job_control(
    mongo_uri: str,
) -> None:
    """Such a shell starts background processes with SIGINT ignored."""
    settings = {"mongo": {"uri": mongo_uri}} | SETTINGS_OF_API
    launcher = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
    async with running("api", settings=settings, launcher=launcher) as api:
        await api.wait_for_event("api_started")
        api.process.send_signal(signal.SIGINT)
        assert (await api.wait_for_event("signal_received"))["signal"] == "SIGINT"
        assert await api.process.wait() == 130


@pytest.mark.parametrize("verbosity", [None, "ERROR"])
async def test_grpc_writes_no_lines_of_its_own_unless_asked_to(
    mongo_uri: str,
    database_name: str,
    files: Files,
    monkeypatch: pytest.MonkeyPatch,
    verbosity: str | None,
) -> None:
    """A file without a certificate makes gRPC write lines; with its default they would be shown."""
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    if verbosity is not None:
        monkeypatch.setenv("GRPC_VERBOSITY", verbosity)
    (files.folder / "ca.pem").write_text("not PEM")
    settings = settings_of_daemon(mongo_uri, database_name, files)
    async with running("run", settings=settings) as daemon:
        assert daemon.process.stderr is not None
        lines = []
        async for line in daemon.process.stderr:
            lines.append(line.decode())
            if "peer_unavailable" in lines[-1]:
                break
    logged = [line for line in lines if line.startswith("{")]
    assert [json.loads(line)["event"] for line in logged] == ["channel_started", "peer_unavailable"]
    assert (len(lines) > len(logged)) == (verbosity is not None), lines
