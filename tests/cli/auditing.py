"""A signed ledger over three months with verdicts and business rows, for the tests of audits."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import islice
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument

from cli.audit.report import Result
from cli.audit.when import read_when
from cli.commands.audit import AuditOptions, run_audit
from cli.configuration.settings import Settings
from devnet.forge.forger import ForgedBlock, Recipe, forge
from indexer.envelopes.verifier import EnvelopeVerifier
from ledger.decoding.blocks import read_block
from ledger.decoding.config_blocks import is_config_block
from ledger.documents.format import Document
from ledger.mongodb.collections import VERDICTS
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.verdicts import StoredVerdict, VerdictStore, next_verdict
from reconciliation.mapping import KINDLEDGER
from tests.cli.support import Json
from tests.indexer.support import Documents, stored_documents
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import CHANNEL, GrowingLedger, submitted

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
INTERVAL = timedelta(days=2)
RECIPE = Recipe(
    seed=8,
    channel=CHANNEL,
    transactions_per_block=range(2, 7),
    invalid_share=0.3,
    started=STARTED,
    interval_milliseconds=int(INTERVAL.total_seconds() * 1000),
)
MONTH = "2026-02"
FIRST, LAST = 16, 29
"""The first and the last block of the month."""
HEIGHT = 40


@cache
def chain() -> tuple[ForgedBlock, ...]:
    """Return a signed chain from January to March 2026."""
    return tuple(islice(forge(RECIPE), HEIGHT))


def time_of(block: int) -> datetime:
    """Return the time of the transactions of a block."""
    return STARTED + block * INTERVAL


def verdicts_on(blocks: Sequence[bytes]) -> list[StoredVerdict]:
    """Return the verdicts on a chain from its genesis block on."""
    verifier, verdicts = EnvelopeVerifier(complete=True), list[StoredVerdict]()
    for data in blocks:
        block = read_block(data)
        verified = verifier.verify(block)
        verdicts.append(
            next_verdict(
                block.number,
                block.hash.hex(),
                verified.findings,
                verdicts[-1] if verdicts else None,
                configures=is_config_block(block),
                defines=verified.defines,
            )
        )
    return verdicts


async def store_ledger(store: LedgerStore) -> None:
    """Store the chain and its verdicts."""
    await GrowingLedger(store).commit(chain())
    await VerdictStore(store.database).insert(verdicts_on([block.data for block in chain()]))


async def write_rows(gateway: Gateway) -> None:
    """Write a settled row for each business transaction of the chain."""
    await gateway.open_campaign()
    for each in submitted(chain(), *KINDLEDGER.functions):
        amount = Decimal(each.args[2]) if each.function == "Donate" else None
        await gateway.transaction(
            each.tx_id,
            each.state,
            block_number=each.block,
            amount=amount,
            created_at=time_of(each.block),
        )


class Audited:
    """A stored ledger with business rows, which a test damages and restores."""

    def __init__(self, store: LedgerStore, gateway: Gateway) -> None:
        self.database, self.gateway = store.database, gateway
        self._saved: Documents = {}

    async def save(self) -> None:
        """Note what is stored now."""
        await self.gateway.connection.execute("CREATE TABLE saved AS TABLE transactions")
        self._saved = await self._documents()

    async def restore(self) -> None:
        """Undo every change since `save`."""
        await self.gateway.connection.execute(
            "DELETE FROM transactions; INSERT INTO transactions TABLE saved"
        )
        for name, documents in (await self._documents()).items():
            saved = self._saved[name]
            changed = [key for key in documents | saved if documents.get(key) != saved.get(key)]
            await self.database[name].delete_many({"_id": {"$in": changed}})
            missing = [RawBSONDocument(saved[key]) for key in changed if key in saved]
            if missing:
                await self.database[name].insert_many(missing)

    async def _documents(self) -> Documents:
        verdicts = await self.database[VERDICTS].find().to_list()
        return await stored_documents(self.database) | {
            VERDICTS: {each["_id"]: bson.encode(each) for each in verdicts}
        }

    async def document(self, name: str, key: int) -> Document:
        document = await self.database[name].find_one({"_id": key})
        assert document is not None
        return document

    async def row(self, change: str, *values: object) -> None:
        """Execute a statement about the rows."""
        await self.gateway.connection.execute(change, *values)


class Auditor:
    """Runs the command and reads its report."""

    def __init__(self, settings: Json, capsys: pytest.CaptureFixture[str]) -> None:
        self.settings, self._capsys = settings, capsys

    async def audit(self, source: str | None = None, **options: Any) -> Json:
        """Return the report as JSON; by default of the month."""
        begin, end = (read_when(options.pop(name, MONTH)) for name in ("begin", "end"))
        options = {"as_json": True, "source": source, **options}
        code = await run_audit(
            Settings.model_validate(self.settings),
            AuditOptions(channel=None, begin=begin, end=end, **options),
        )
        printed = self._capsys.readouterr().out
        report: Json = json.loads(printed[printed.index("{\n") :])  # after lines of the log
        assert report["exitCode"] == code
        return report | {"checks": {check["name"]: check for check in report["checks"]}}


def results(report: Json) -> dict[str, str]:
    """Return the results that are not `passed`, by check."""
    checks = report["checks"].values()
    return {check["name"]: check["result"] for check in checks if check["result"] != Result.PASSED}
