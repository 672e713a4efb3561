"""The ledger files of the devnet's peer: written from block files, split as a peer splits them."""

from pathlib import Path

from click.testing import CliRunner

from devnet.peer.ledger_files import ledger_record, main
from tests.block_files import write_block_files
from tests.indexer.network import TRUNK


def test_the_command_writes_the_blocks_into_files_of_a_limited_size(tmp_path: Path) -> None:
    folder = tmp_path / "ledger"
    command = [str(write_block_files(tmp_path / "blocks", TRUNK)), str(folder)]
    written = CliRunner().invoke(main, [*command, "--max-file-bytes", "50000"])
    assert written.exit_code == 0, written.output
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"blockfile_{n:06}" for n in range(len(files))]
    assert b"".join(file.read_bytes() for file in files) == b"".join(map(ledger_record, TRUNK))
    assert all(file.stat().st_size <= 50_000 for file in files)
    again = CliRunner().invoke(main, command)
    assert (again.exit_code, "has ledger files already" in again.output) == (2, True)
    empty = CliRunner().invoke(main, [str(folder), str(tmp_path / "other")])
    assert (empty.exit_code, "has no NNNNNN.block file" in empty.output) == (2, True)
