"""Shared by the tests of the commands: processes, a forged channel, and a client's files."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from cli.configuration.loading import PREFIX
from cli.configuration.settings import Settings
from cli.doctor.checks import Check, Outcome
from cli.doctor.diagnosis import diagnose
from devnet.forge.forger import Recipe, forge
from devnet.peer import Authority, KeyPair
from devnet.servers import Mongod

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "devnet" / "recorded" / "raft-2.5-blocks-000000-000135.tar.xz"
CHANNEL = "kindledger"
RECIPE = Recipe(channel=CHANNEL, signed=False)
TLS_AUTHORITY = Authority("tls")
SERVER = TLS_AUTHORITY.issue("peer0")

SUMMARY = {
    "channel": CHANNEL,
    "startBlock": 0,
    "height": 136,
    "transactions": 838,
    "statuses": {
        "VALID": 802,
        "MVCC_READ_CONFLICT": 23,
        "ENDORSEMENT_POLICY_FAILURE": 7,
        "DUPLICATE_TXID": 3,
        "PHANTOM_READ_CONFLICT": 3,
    },
    "events": 694,
}
"""The totals that `import` prints of the recorded ledger."""

Json = dict[str, Any]


@cache
def forged_blocks(height: int) -> tuple[bytes, ...]:
    """Return the first blocks of the forged channel."""
    return tuple(block.data for block in islice(forge(RECIPE), height))


@dataclass(frozen=True)
class Files:
    """Certificates and keys of a member of an organisation, in one folder."""

    folder: Path

    @classmethod
    def enrolled(cls, folder: Path) -> "Files":
        """Write the files of a member of the forged channel, and its TLS client certificate."""
        RECIPE.network().client.write(folder)
        (folder / "ca.pem").write_bytes(TLS_AUTHORITY.certificate)
        files = cls(folder)
        files.write("client", TLS_AUTHORITY.issue("client"))
        return files

    def write(self, name: str, pair: KeyPair) -> tuple[Path, Path]:
        """Write a certificate and its key, which only the owner can read, into the folder."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(pair.certificate)
        key.touch(mode=0o600)
        key.write_bytes(pair.key)
        return certificate, key

    def fabric(self, address: str, **changes: Any) -> Json:
        """Return the section `fabric` for one peer with mutual TLS.

        Changes that begin with `tls_` belong to the peer. None removes a key.
        """
        peer = {"address": address, "tls_ca": self.folder / "ca.pem"}
        values: Json = {
            "msp_id": "Org1MSP",
            "certificate": self.folder / "cert.pem",
            "key": self.folder / "key.pem",
            "client_tls_certificate": self.folder / "client.pem",
            "client_tls_key": self.folder / "client.key",
        }
        for key, value in changes.items():
            (peer if key.startswith("tls_") else values)[key] = value
        return {
            key: value for key, value in (values | {"peers": [peer]}).items() if value is not None
        }


def environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings as variables, with this machine's variables of other programs.

    The envelopes of the forged channel are not signed, so that they are not verified by default.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)
    } | {f"{PREFIX}VERIFICATION__ENVELOPES": "false"}
    return inherited | dict(_variables(settings, PREFIX))


def _variables(settings: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    variables: list[tuple[str, str]] = []
    for key, value in settings.items():
        name = f"{prefix}{key.upper()}"
        if isinstance(value, Mapping):
            variables += _variables(value, f"{name}__")
        else:
            variables.append(
                (name, json.dumps(value, default=str) if isinstance(value, list) else str(value))
            )
    return variables


COMMAND = (sys.executable, "-m", "cli.main")


def kindledger(
    *arguments: str | Path, settings: Mapping[str, Any]
) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=environment(settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@dataclass
class Running:
    """A running command; `log` has the lines that were read from its stderr."""

    process: asyncio.subprocess.Process
    log: list[str]

    async def wait_for_event(self, event: str) -> Json:
        """Return the next line of the log with this event."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log.append(line.decode())
            if line.startswith(b"nohup: "):
                continue
            fields: Json = json.loads(line)
            if fields["event"] == event:
                return fields
        raise AssertionError(f"{event} was never logged: {self.log}")


@asynccontextmanager
async def running(
    *arguments: str, settings: Mapping[str, Any], launcher: Sequence[str] = ()
) -> AsyncIterator[Running]:
    """Start the command, by the launcher if there is one; kill it at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *launcher,
        *COMMAND,
        *arguments,
        env=environment(settings),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Running(process, [])
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run_checks(settings: Json, limit_s: float = 5.0) -> list[Check]:
    return await diagnose(Settings.model_validate(settings), limit_s)


def checks_of(checks: Sequence[Check], part: str) -> dict[str, Check]:
    """Return the checks of one part by step."""
    return {
        check.name.rpartition(": ")[2]: check for check in checks if check.name.startswith(part)
    }


def only_failure(checks: Sequence[Check]) -> Check:
    """Return the only failed check; the checks that depend on it must be skipped."""
    failed = [check for check in checks if check.outcome is Outcome.FAILED]
    assert len(failed) == 1, failed
    assert failed[0].advice, "a failure must have advice"
    after = checks[checks.index(failed[0]) + 1 :]
    part = failed[0].name.rpartition(": ")[0]
    assert all(
        check.outcome is Outcome.SKIPPED for check in after if check.name.startswith(part)
    ), after
    return failed[0]


def uri_of(mongod: Mongod, user: str, password: str | None = None) -> str:
    """Return the address for one of the users of `guarded_mongod`."""
    credentials = f"{user}:{password or f'{user}-pw'}"
    return f"mongodb://{credentials}@{mongod.host}/?replicaSet=kindledger&authSource=admin"
