"""`python -m devnet.peer.ledger_files BLOCKS FOLDER`: writes blocks as a peer stores them itself.

A peer appends each block to a ledger file, `blockfile_000000` and so on, in the folder of its
channel. The form is that of Fabric's `common/ledger/blkstorage`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from devnet.peer.peer_ledger import block_files
from devnet.wire_format import varint
from protos.common_pb2 import Block

MAX_FILE_BYTES = 64 << 20
"""The size of a peer's files; only a larger block makes a larger file."""


def ledger_record(block_bytes: bytes) -> bytes:
    """Return the record of a serialized `common.Block` in a ledger file."""
    block = Block.FromString(block_bytes)
    header = block.header
    content = b"".join(
        (
            varint(header.number),
            _with_length(header.data_hash),
            _with_length(header.previous_hash),
            _counted(block.data.data),
            _counted(block.metadata.metadata),
        )
    )
    return _with_length(content)


def write_ledger_files(
    folder: Path, blocks: Iterable[bytes], *, max_file_bytes: int = MAX_FILE_BYTES
) -> Path:
    """Write the blocks into ledger files; return the folder, which is created if absent.

    Like a peer, begin the next file before a block that would make a file too large. So the first
    file stays empty if the first block is larger than a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number, path, size = 0, _new_file(folder, 0), 0
    for block in blocks:
        record = ledger_record(block)
        if size + len(record) > max_file_bytes:
            number, size = number + 1, 0
            path = _new_file(folder, number)
        with path.open("ab") as file:
            file.write(record)
        size += len(record)
    return folder


def _new_file(folder: Path, number: int) -> Path:
    path = folder / f"blockfile_{number:06}"
    path.write_bytes(b"")
    return path


def _with_length(content: bytes) -> bytes:
    return varint(len(content)) + content


def _counted(entries: Sequence[bytes]) -> bytes:
    return varint(len(entries)) + b"".join(map(_with_length, entries))


@click.command()
@click.argument("blocks", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--max-file-bytes", default=MAX_FILE_BYTES, show_default=True)
def main(*, blocks: Path, folder: Path, max_file_bytes: int) -> None:
    """Write the files NNNNNN.block of BLOCKS into ledger files in FOLDER."""
    if any(folder.glob("blockfile_*")):
        raise click.UsageError(f"{folder} has ledger files already; name a new folder")
    try:
        _, files = block_files(blocks)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    write_ledger_files(folder, (file.read_bytes() for file in files), max_file_bytes=max_file_bytes)


if __name__ == "__main__":
    main()
