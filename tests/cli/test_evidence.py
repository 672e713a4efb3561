"""`kindledger evidence` as an operator, and whoever gets the file, use it."""

import asyncio
import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from cli.command_line import kindledger as commands
from cli.commands.evidence_making import Request, make_file
from cli.configuration.settings import Settings
from cli.errors import UnavailableError
from devnet.peer import Ledger, Peer, ServerTls
from devnet.peer.channel_config import organisations
from ledger.errors import ChainMismatchError
from ledger.evidence.bundle import MAX_BUNDLE_BYTES
from ledger.evidence.errors import EvidenceError
from ledger.mongodb.collections import RAW_BLOCKS
from ledger.mongodb.store import LedgerStore
from ledger.position import pack_position
from tests.block_files import write_block_files
from tests.cli.support import (
    CHANNEL,
    SERVER,
    TLS_AUTHORITY,
    Files,
    Json,
    kindledger,
)
from tests.evidence.ledgers import EvidenceLedger, recorded_ledger
from tests.evidence.written_chain import (
    NETWORK,
    SPACE,
    WrittenChain,
    private,
    write,
    write_metadata,
)
from tests.indexer.network import RunningIndexer
from tests.indexer.support import EndingSource, index
from tests.ledger.commit_hash_blocks import with_code

SECRET = b'{"name": "donor 7", "phone": "0907"}'


def written_ledger() -> EvidenceLedger:
    """Return a chain whose block 2 writes private data, and only the metadata of a key."""
    chain = WrittenChain()
    chain.cut([write("k", b"v")])
    chain.cut(
        [write_metadata("k")],
        [write("l", b"w")],
        collections=[private("donors", {"d": SECRET})],
        earlier={(SPACE, "", b"k"): b"v"},
    )
    return EvidenceLedger(chain.blocks)


async def stored(mongo_uri: str, store: LedgerStore, ledger: EvidenceLedger) -> Json:
    """Store the ledger; return the settings of commands that read it."""
    await index(store, EndingSource(list(ledger.blocks.values())))
    return {
        "mongo": {"uri": mongo_uri},
        "channels": {CHANNEL: {"database": store.database.name}},
    }


async def make(settings: Json, transaction: str, source: Path | str | None, file: Path) -> None:
    named = str(source) if source is not None else None
    request = Request(transaction, CHANNEL, named, file)
    await make_file(Settings.model_validate(settings), request, as_json=True)


async def test_a_bundle_is_made_from_files(
    mongo_uri: str, store: LedgerStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = written_ledger()
    settings = await stored(mongo_uri, store, ledger)
    blocks = write_block_files(tmp_path / "blocks", ledger.blocks.values())
    file, made = tmp_path / "proof.json", ledger.bundle(2, 0)
    tx_id = json.loads(made)["statement"]["txId"]
    capsys.readouterr()
    await make(settings, tx_id, blocks, file)
    assert file.read_bytes() == made
    report: Json = json.loads(capsys.readouterr().out)
    assert (report["block"], report["index"], report["anchor"]) == (2, 0, 0)
    assert report["anchorHash"] == ledger.anchor_hash.hex()
    await make(settings, "2:1", blocks, file)
    assert file.read_bytes() == ledger.bundle(2, 1)
    with pytest.raises(EvidenceError, match="block 2 has no envelope at index 7"):
        await make(settings, "2:7", blocks, file)
    for unknown in ("ab" * 32, "3:0"):
        with pytest.raises(click.UsageError, match=r"no stored transaction|highest is 2"):
            await make(settings, unknown, blocks, file)
    assert file.read_bytes() == ledger.bundle(2, 1)
    with pytest.raises(UnavailableError, match="cannot be written"):
        await make(settings, "2:0", blocks, tmp_path / "none" / "proof.json")


async def test_a_source_with_other_blocks_makes_no_evidence(
    mongo_uri: str, store: LedgerStore, tmp_path: Path
) -> None:
    ledger, file = written_ledger(), tmp_path / "proof.json"
    settings = await stored(mongo_uri, store, ledger)
    changed = {**ledger.blocks, 2: with_code(ledger.blocks[2], 0, 11)}
    folder = write_block_files(tmp_path / "changed", changed.values())
    with pytest.raises(ChainMismatchError, match="validation codes: expected 0000, got 0b00"):
        await make(settings, "2:0", folder, file)
    short = write_block_files(tmp_path / "short", [*ledger.blocks.values()][:2])
    with pytest.raises(UnavailableError, match="does not have block 2"):
        await make(settings, "2:0", short, file)
    assert not file.exists()
    await make(settings, "2:0", "archive", file)
    assert file.read_bytes() == ledger.bundle(2, 0)
    await store.database[RAW_BLOCKS].delete_one({"_id": pack_position(2, 0)})
    with pytest.raises(UnavailableError, match="archive: "):
        await make(settings, "2:0", "archive", file)


async def test_a_ledger_that_begins_later_rests_on_its_config_block(
    mongo_uri: str, store: LedgerStore, tmp_path: Path
) -> None:
    """The CONFIG block below the start block is not stored: a file of the operator has it."""
    ledger = recorded_ledger("raft-2.5")
    blocks = list(ledger.blocks.values())[3:12]
    run = RunningIndexer(store, [EndingSource(blocks)], first=3)
    await run.task
    folder = write_block_files(tmp_path / "blocks", blocks, first=3)
    settings = {"mongo": {"uri": mongo_uri}, "channels": {CHANNEL: {}}}
    channel = {"database": store.database.name}
    settings["channels"] = {CHANNEL: channel}
    file = tmp_path / "proof.json"
    with pytest.raises(UnavailableError, match="does not have block 2"):
        await make(settings, "9:0", folder, file)
    anchor = tmp_path / "anchor.block"
    anchor.write_bytes(ledger.blocks[2])
    channel["config_block"] = str(anchor)
    await make(settings, "9:0", folder, file)
    later = EvidenceLedger([ledger.blocks[2], *blocks])
    assert file.read_bytes() == later.bundle(9, 0)


async def test_a_bundle_is_made_from_a_peer(
    mongo_uri: str, store: LedgerStore, tmp_path: Path
) -> None:
    ledger = written_ledger()
    settings = await stored(mongo_uri, store, ledger)
    blocks = list(ledger.blocks.values())
    NETWORK.client.write(tmp_path)
    (tmp_path / "ca.pem").write_bytes(TLS_AUTHORITY.certificate)
    files = Files(tmp_path)
    files.write("client", TLS_AUTHORITY.issue("client"))
    peer = Peer(
        {CHANNEL: Ledger(blocks)},
        tls=ServerTls(SERVER, TLS_AUTHORITY.certificate),
        organisations=organisations(blocks[0]),
    )
    async with peer:
        settings["fabric"] = files.fabric(peer.address)
        arguments = ("evidence", "2:0", "-o", tmp_path / "proof.json")
        ended = await asyncio.to_thread(kindledger, *arguments, settings=settings)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "proof.json").read_bytes() == ledger.bundle(2, 0)


def run(*arguments: str | Path, code: int = 0) -> Result:
    """Run a command that needs no configuration: the one that there is would be an error."""
    variables = {"KINDLEDGER_CONFIG": "/nowhere.toml", "KINDLEDGER_NO_SUCH_KEY": "1"}
    ended = CliRunner().invoke(commands, ["evidence", *map(str, arguments)], env=variables)
    assert ended.exit_code == code, ended.output
    assert ended.exception is None or isinstance(ended.exception, SystemExit)
    return ended


def test_a_bundle_is_verified_without_configuration(tmp_path: Path) -> None:
    ledger, file = written_ledger(), tmp_path / "proof.json"
    file.write_bytes(ledger.bundle(2, 0))
    commit_hash = ledger.commit_hash(2)
    assert commit_hash is not None
    genesis = ("--genesis", ledger.anchor_hash.hex())
    text = run("verify", file, *genesis).stdout
    assert text.startswith("VERIFIED\n")
    assert "get the commit hash of block 2 from a peer" in text.lower()
    trusted = ("--commit-hash", commit_hash.hex(), "--json")
    report: Json = json.loads(run("verify", file, *genesis, *trusted).stdout)
    assert report["verified"]
    assert report["commitHashIsTrusted"]
    assert report["statement"]["status"] == "VALID"
    assert any("gave this validation code" in each for each in report["proved"])
    for hashes, words in (
        (("--genesis", "00" * 32), "not the one that is trusted"),
        ((*genesis, "--commit-hash", "00" * 32), "the trusted commit hash is"),
    ):
        refused = run("verify", file, *hashes, code=65)
        assert refused.stdout.startswith("NOT VERIFIED: ")
        assert words in refused.stdout
    for wrong in (["--genesis", "ab"], ["--genesis", "x" * 64], []):
        run("verify", file, *wrong, code=2)
    run("verify", tmp_path / "none", *genesis, code=2)
    with (tmp_path / "large").open("wb") as large:
        large.truncate(4 * MAX_BUNDLE_BYTES)
    assert "more than" in run("verify", tmp_path / "large", *genesis, code=65).stdout


def test_control_characters_of_a_client_do_not_reach_the_terminal(tmp_path: Path) -> None:
    chain = WrittenChain()
    chain.cut([write("\x1b[31m", b"\x1b]0;title\x07")])
    ledger, file = EvidenceLedger(chain.blocks), tmp_path / "proof.json"
    file.write_bytes(ledger.bundle(1, 0))
    text = run("verify", file, "--genesis", ledger.anchor_hash.hex()).stdout
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("d", SECRET, None),
        ("d", SECRET + b"\n", "its hash differs"),
        ("e", SECRET, "does not write this key"),
    ],
)
def test_a_private_value_is_proved(
    key: str, value: bytes, fault: str | None, tmp_path: Path
) -> None:
    ledger, file, secret = written_ledger(), tmp_path / "proof.json", tmp_path / "value"
    file.write_bytes(ledger.bundle(2, 1))
    secret.write_bytes(value)
    arguments = ("private", file, "--collection", "donors", "--key", key, "--value-file", secret)
    genesis = ("--genesis", ledger.anchor_hash.hex())
    text = run(*arguments, *genesis, code=0 if fault is None else 65).stdout
    assert text.startswith("proved" if fault is None else "not proved: ")
    assert fault is None or fault in text
    other = run(*arguments, "--genesis", "00" * 32, "--json", code=65)
    assert "does not verify" in json.loads(other.stdout)["failure"]
