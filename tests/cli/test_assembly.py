"""Limits and faults that are noticed when the parts are assembled."""

import subprocess
import sys

import pytest

from cli.assembly.daemon import run_daemon
from cli.configuration.settings import Settings
from cli.errors import exit_on_failure


async def test_the_daemon_without_a_channel_exits_78(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended, exit_on_failure(daemon=True):
        await run_daemon(Settings(), with_api=False)
    assert ended.value.code == 78
    assert "channels: none is configured" in capsys.readouterr().err


def test_there_are_fewer_streams_than_the_process_may_open_files() -> None:
    """More streams would use up the files, and not even a request could be accepted."""
    script = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, int(sys.argv[1])))\n"
        "from cli.assembly.api import api_options\n"
        "from cli.configuration.settings import ApiSettings\n"
        "streams = api_options(ApiSettings(streams=2000)).streams\n"
        "print(streams, resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
    )

    def streams_and_files(hard_limit: int) -> tuple[list[str], bool]:
        command = [sys.executable, "-c", script, str(hard_limit)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return result.stdout.splitlines()[-1].split(), "api_streams_limited" in result.stdout

    assert streams_and_files(4000) == (["2000", "2512"], False)
    assert streams_and_files(1000) == (["488", "1000"], True)
