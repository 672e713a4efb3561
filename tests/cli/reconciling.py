"""Helpers of the tests of `kindledger reconcile`."""

import json
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from cli.errors import Exit
from ledger.mongodb.sync_state import (
    ChannelState,
    Reconciliation,
    SyncState,
    write_sync_state,
)
from tests.cli.support import Json, kindledger
from tests.reconciliation.growing_ledger import CHANNEL, GrowingLedger

HEIGHT = 20
UNKNOWN = "ab" * 32
HOSTILE = "[red]x\x1b[2J"
LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


async def report(
    ledger: GrowingLedger,
    state: ChannelState = ChannelState.FOLLOWING,
    reconciliation: Reconciliation | None = None,
) -> None:
    """Write the report of a daemon about its ledger."""
    now = datetime.now(UTC)
    height = ledger.progress.committed_height
    state_report = SyncState(
        CHANNEL, state, "peer0:7051", 0, height, height, height, 0.0, None, now, now, "1.2.3"
    )
    await write_sync_state(
        ledger.store.database, replace(state_report, reconciliation=reconciliation)
    )


def reconcile(*arguments: str, settings: Json, code: Exit = Exit.OK) -> Json:
    """Run the command and return its JSON."""
    result = kindledger("reconcile", *arguments, "--json", settings=settings)
    assert result.returncode == code, result.stderr
    document: Json = json.loads(result.stdout)
    return document
