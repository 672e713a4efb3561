"""`kindledger audit` finds what is wrong, and calls nothing right that it did not check."""

import asyncio
import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.audit.blocks import format_time
from cli.audit.report import CheckName, Result
from cli.audit.when import read_when
from cli.commands.audit import audit_group
from cli.errors import Exit
from ledger.mongodb.collections import BLOCKS, VERDICTS
from ledger.mongodb.store import LedgerStore
from tests.block_files import write_block_files
from tests.cli.audit_faults import DATA, FAULTS, MIDDLE, VALID, change_amount
from tests.cli.auditing import (
    FIRST,
    LAST,
    MONTH,
    Audited,
    Auditor,
    results,
    store_ledger,
    time_of,
    write_rows,
)
from tests.cli.support import Json, kindledger
from tests.indexer.network import Client, peer_of
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import CHANNEL

SOURCE = (CheckName.DOCUMENTS, CheckName.SIGNATURES)


@pytest.fixture
async def audited(store: LedgerStore, gateway: Gateway) -> Audited:
    await store_ledger(store)
    await gateway.connection.execute("DELETE FROM campaigns WHERE id = 'c1'")
    await write_rows(gateway)
    audited = Audited(store, gateway)
    await audited.save()
    return audited


@pytest.fixture
def settings(mongo_uri: str, database_name: str, reporter_dsn: str) -> Json:
    """Settings of a user who may only read."""
    return {
        "mongo": {"uri": mongo_uri},
        "channels": {CHANNEL: {"database": database_name}},
        "postgres": {"dsn": reporter_dsn},
        "log": {"level": "error"},
    }


@pytest.fixture
def files(tmp_path: Path) -> str:
    return str(write_block_files(tmp_path / "blocks", DATA))


@pytest.fixture
def auditor(settings: Json, capsys: pytest.CaptureFixture[str]) -> Auditor:
    return Auditor(settings, capsys)


async def test_a_month_is_right_until_a_fault_is_planted(
    auditor: Auditor, audited: Audited, files: str
) -> None:
    """Each of the faults is found and named, and undone before the next."""
    honest = await auditor.audit(files)
    assert (results(honest), honest["exitCode"], honest["findings"]) == ({}, Exit.OK, 0)
    assert (honest["firstBlock"], honest["lastBlock"]) == (FIRST, LAST)
    for fault, expected in FAULTS.items():
        await fault(audited)
        report = await auditor.audit(files)
        assert report["exitCode"] == Exit.DATA, fault.__name__
        for check, named, block, what in expected:
            shown = report["checks"][check]["shown"]
            assert any(
                each["block"] == block
                and named in f"{each['subject']} {each['what']}"
                and what in each["what"]
                for each in shown
            ), (fault.__name__, check, json.dumps(shown, indent=1))
        await audited.restore()
    assert (await auditor.audit(files))["exitCode"] == Exit.OK


async def test_what_was_not_checked_is_never_right(
    auditor: Auditor, audited: Audited, files: str, tmp_path: Path, closed_port: int
) -> None:
    """Each reason is shown, and gives an exit code of its own."""
    of_month = str(write_block_files(tmp_path / "month", DATA[FIRST : LAST + 2], FIRST))
    for source, ends, code, expected in (
        (None, (MONTH, MONTH), Exit.CONFIGURATION, dict.fromkeys(SOURCE, Result.NOT_CHECKED)),
        (None, ("2026-03", "2026-03"), Exit.CONFIGURATION, {"range": Result.NOT_CHECKED}),
        (of_month, (MONTH, MONTH), Exit.CONFIGURATION, {"signatures": Result.NOT_CHECKED}),
        (of_month, (MONTH, "2026-03"), Exit.DATA, {"documents": Result.FINDINGS}),
        (files, ("block:16", "block:40"), Exit.CONFIGURATION, {"range": Result.NOT_CHECKED}),
        (files, (MONTH, "9999-01-01"), Exit.CONFIGURATION, {"range": Result.NOT_CHECKED}),
        (
            *(files, ("2026-06", "2026-06"), Exit.CONFIGURATION),
            dict.fromkeys(CheckName, Result.NOT_CHECKED),
        ),
        (files, ("2026-03", "2026-03"), Exit.OK, {}),
        (files, ("block:0", "block:39"), Exit.OK, {}),
    ):
        report = await auditor.audit(source, begin=ends[0], end=ends[1])
        assert report["exitCode"] == code, (ends, results(report))
        assert results(report).items() >= expected.items(), ends

    await audited.database[VERDICTS].delete_one({"_id": LAST})
    report = await auditor.audit(of_month)
    assert (results(report), report["exitCode"]) == (
        {CheckName.SIGNATURES: Result.NOT_CHECKED, CheckName.VERDICTS: Result.NOT_CHECKED},
        Exit.CONFIGURATION,
    )
    assert f"the first is {LAST}" in report["checks"]["verdicts"]["reasons"][0]
    await audited.database[VERDICTS].delete_many({})
    report = await auditor.audit(files)
    assert (results(report), report["exitCode"]) == ({}, Exit.OK)
    assert "the audit itself verified" in report["checks"]["verdicts"]["notes"][0]
    await audited.restore()

    auditor.settings["trust"] = {"peers_required": 2}
    assert results(await auditor.audit(files)) == {CheckName.AGREEMENT: Result.NOT_CHECKED}
    del auditor.settings["trust"]
    rows = (CheckName.ROWS, CheckName.MISSING_ROWS, CheckName.DISCREPANCIES)
    auditor.settings["postgres"] = {"dsn": f"postgresql://u:p@127.0.0.1:{closed_port}/x"}
    report = await auditor.audit(files)
    assert (results(report), report["exitCode"]) == (
        dict.fromkeys(rows, Result.NOT_CHECKED),
        Exit.UNAVAILABLE,
    )
    del auditor.settings["postgres"]
    report = await auditor.audit(files)
    assert (results(report), report["exitCode"]) == (
        dict.fromkeys(rows, Result.NOT_CONFIGURED),
        Exit.OK,
    )
    assert "not configured: rows" in report["verdict"]


async def test_a_digest_that_was_written_down_is_compared(
    auditor: Auditor, audited: Audited, files: str
) -> None:
    digest = (await audited.document(BLOCKS, LAST))["digest"]
    report = await auditor.audit(files, expected_digest=digest)
    assert (report["digest"], report["exitCode"]) == (digest, Exit.OK)
    report = await auditor.audit(files, expected_digest="0" * 64)
    assert (results(report), report["exitCode"]) == (
        {CheckName.DIGESTS: Result.FINDINGS},
        Exit.DATA,
    )


async def test_rows_that_wait_and_open_discrepancies(
    auditor: Auditor, audited: Audited, files: str
) -> None:
    """A pending row is a finding when its block is settled, and not decided before."""
    pending = "UPDATE transactions SET status = 'PENDING' WHERE tx_hash = $1"
    await audited.row(pending, VALID[0].tx_id)
    waiting = await auditor.audit(files)
    assert (results(waiting), waiting["exitCode"]) == (
        {CheckName.ROWS: Result.NOT_CHECKED},
        Exit.CONFIGURATION,
    )
    await audited.row(
        "INSERT INTO ledger_cursor (channel, height, block_hash, audited_height) "
        "VALUES ($1, 40, '', 40)",
        CHANNEL,
    )
    for block in (LAST, LAST + 1):
        await audited.row(
            "INSERT INTO ledger_discrepancies "
            "(channel, kind, table_name, subject, tx_hash, ledger, found) "
            "VALUES ($1, 'refused', 'transactions', $2, 'h', $3, '{}')",
            CHANNEL,
            str(block),
            json.dumps({"block": block}),
        )
    report = await auditor.audit(files)
    assert results(report) == {
        CheckName.ROWS: Result.FINDINGS,
        CheckName.DISCREPANCIES: Result.FINDINGS,
    }
    (row,) = report["checks"]["rows"]["shown"]
    assert (row["kind"], row["block"]) == ("not_settled", VALID[0].block)
    (open_one,) = report["checks"]["discrepancies"]["shown"]
    assert (open_one["kind"], open_one["block"]) == ("refused", LAST)


async def test_another_peer_is_the_source_if_none_is_named(
    auditor: Auditor, audited: Audited, tmp_path: Path
) -> None:
    """A peer that is behind is no finding, and no verdict; one that is down is unavailable."""
    client = Client.enrolled(tmp_path)
    fabric: Json = {
        "msp_id": client.msp_id,
        "certificate": tmp_path / "cert.pem",
        "key": tmp_path / "key.pem",
        "client_tls_certificate": tmp_path / "client.pem",
        "client_tls_key": tmp_path / "client.key",
    }
    auditor.settings["fabric"] = fabric
    for blocks, expected in (
        (DATA, {}),
        (DATA[: LAST - 2], dict.fromkeys(SOURCE, Result.NOT_CHECKED)),
    ):
        async with peer_of(blocks) as peer:
            fabric["peers"] = [{"address": peer.address, "tls_ca": tmp_path / "ca.pem"}]
            report = await auditor.audit()
        assert results(report) == expected
        assert f"peer {peer.address}" in report["checks"]["documents"]["notes"][0]
    down = await auditor.audit()
    assert (results(down), down["exitCode"]) == (expected, Exit.UNAVAILABLE)


async def test_the_report_for_people_and_its_findings_as_csv(
    settings: Json, audited: Audited, files: str
) -> None:
    options = ("audit", "--from", MONTH, "--to", "2026-02-28", "--source", files)
    honest = await asyncio.to_thread(kindledger, *options, settings=settings)
    assert honest.returncode == Exit.OK, honest.stderr
    assert f"blocks {FIRST} to {LAST}" in honest.stdout
    assert "every check was made over the whole range, and nothing was found" in honest.stdout
    await change_amount(audited)
    await audited.gateway.transaction("=1+1", "CONFIRMED", created_at=time_of(MIDDLE))
    found = await asyncio.to_thread(kindledger, *options, "--csv", settings=settings)
    assert found.returncode == Exit.DATA, found.stderr
    header, *lines = csv.reader(io.StringIO(found.stdout))
    assert header == ["check", "kind", "block", "subject", "what"]
    assert {(line[0], line[1]) for line in lines} == {
        ("rows", "amount_differs"),
        ("rows", "impossible_hash"),
    }
    assert "2 findings (rows)" in found.stderr


def test_a_range_is_read_as_it_is_written() -> None:
    """A date and a month end with their last moment; times are rounded up to milliseconds."""
    for text, begins, ends in (
        ("2026-10-31", "2026-10-31T00:00:00Z", "2026-11-01T00:00:00Z"),
        ("2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("2026-10-01T02:00:00.0001+02:00", "2026-10-01T00:00:00.001Z", "2026-10-01T00:00:00.001Z"),
    ):
        when = read_when(text)
        assert when.begins is not None
        assert when.ends is not None
        assert (format_time(when.begins), format_time(when.ends)) == (begins, ends)
    assert read_when("block:7").block == 7
    wrong = ("", "2026", "2026-13", "2026-02-30", "2026-10-01T12:00:00", "block:-1", "9999-12-31")
    for text in wrong:
        with pytest.raises(ValueError, match=r".*"):
            read_when(text)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--from", "2026-13"), "is not a date"),
        (("--from", "2026-03", "--to", "2026-02"), "is before"),
        (("--from", "block:2", "--to", "block:1"), "is before"),
        (("--from", "2026-02"), "give the range"),
        (("--from", "2026-02", "--to", "2026-02", "--json", "--csv"), "give only one"),
    ],
)
def test_a_wrong_range_is_refused(options: tuple[str, ...], says: str) -> None:
    refused = CliRunner().invoke(audit_group, options)
    assert (refused.exit_code, says in refused.output) == (Exit.USAGE, True), refused.output
