"""`kindledger evidence`: files that prove a transaction to others, and their verification."""

import asyncio
from pathlib import Path

import click
import msgspec

from cli.commands.evidence_making import Request, make_file
from cli.commands.options import LoadSettings, json_option
from cli.errors import Exit, UnavailableError, exit_on_failure
from cli.output.console import print_json
from cli.output.evidence import describe
from ledger.evidence.bundle import MAX_BUNDLE_BYTES
from ledger.evidence.private_values import private_value_fault
from ledger.evidence.report import EvidenceReport
from ledger.evidence.verification import Trusted, verify_bundle

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_MAKE = "make"


def _read_hash(_: click.Context, __: click.Parameter, value: str | None) -> bytes | None:
    """Return the bytes of a SHA-256 in hex. Raises `BadParameter` for another text."""
    if value is None:
        return None
    try:
        digest = bytes.fromhex(value)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise click.BadParameter(f"{value!r} is not a hash of 64 hexadecimal digits")
    return digest


class _EvidenceGroup(click.Group):
    """A group in which `evidence TXID` means `evidence make TXID`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name, else `make` with all of them."""
        if args and args[0] not in self.commands:
            return _MAKE, self.commands[_MAKE], args
        return super().resolve_command(ctx, args)


_genesis = click.option(
    "--genesis",
    callback=_read_hash,
    required=True,
    help="The header hash of the genesis block, or of the CONFIG block that you trust instead.",
)
_commit_hash = click.option(
    "--commit-hash",
    callback=_read_hash,
    help="The block's commit hash, from a peer that you trust.",
)


@click.group(
    "evidence",
    cls=_EvidenceGroup,
    short_help="Prove a transaction to others, offline.",
    context_settings={"ignore_unknown_options": True},
)
def evidence_group() -> None:
    """Make and verify evidence bundles: files that prove one transaction without any server.

    `kindledger evidence TXID -o FILE` is short for `kindledger evidence make TXID -o FILE`. The
    form of the file, and what it proves, is in docs/evidence/README.md.
    """


@evidence_group.command(_MAKE, short_help="Write the bundle of a transaction.")
@click.argument("transaction", metavar="TXID|BLOCK:INDEX")
@click.option("--channel", help="The channel of the transaction; needed if several are stored.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write.",
)
@click.option(
    "--source",
    metavar="archive|peer[:NAME]|PATH",
    help="Where the blocks come from: the archive of raw blocks, a configured peer, or block files."
    "  [default: the archive, else a peer]",
)
@json_option
@click.pass_obj
def make_command(
    load: LoadSettings,
    /,
    *,
    transaction: str,
    channel: str | None,
    output: Path,
    source: str | None,
    as_json: bool,
) -> None:
    """Write the bundle that proves a stored transaction, given by its id or by its position.

    The blocks of the source are compared with the stored ledger, and the bundle is verified, before
    it is written. Exits 65 if it would prove nothing.
    """
    with exit_on_failure():
        request = Request(transaction, channel, source, output)
        asyncio.run(make_file(load(), request, as_json=as_json))


@evidence_group.command("verify", short_help="Verify a bundle, without any server.")
@click.argument("file", type=_FILE)
@_genesis
@_commit_hash
@json_option
def verify_command(file: Path, *, genesis: bytes, commit_hash: bytes | None, as_json: bool) -> None:
    """Check a bundle against the hash that you trust, and say what it proves.

    Needs no configuration, no database and no network. Exits 65 if it does not verify.
    """
    with exit_on_failure():
        report = verify_bundle(_read(file), Trusted(genesis, commit_hash))
    if as_json:
        print_json({"verified": report.verified, **msgspec.to_builtins(report)})
    else:
        click.echo(describe(report))
    raise SystemExit(Exit.OK if report.verified else Exit.DATA)


@evidence_group.command("private", short_help="Prove a private value by its hash in a bundle.")
@click.argument("file", type=_FILE)
@_genesis
@_commit_hash
@click.option("--collection", required=True, help="The name of the collection.")
@click.option("--key", required=True, help="The key, as the chaincode wrote it.")
@click.option("--value-file", type=_FILE, required=True, help="A file with exactly the value.")
@click.option("--namespace", help="The chaincode, if several have such a collection.")
@json_option
def private_command(
    file: Path,
    *,
    genesis: bytes,
    commit_hash: bytes | None,
    collection: str,
    key: str,
    value_file: Path,
    namespace: str | None,
    as_json: bool,
) -> None:
    """Check that a value is the one whose hash the transaction of a bundle wrote.

    The ledger has only the hashes of private keys and values. The bundle is verified too. Exits 65
    if it does not verify, or the value is another one.
    """
    with exit_on_failure():
        report = verify_bundle(_read(file), Trusted(genesis, commit_hash))
        value = _read(value_file)
    fault = _private_fault(report, collection, key, value, namespace)
    if as_json:
        print_json({"verified": fault is None, "failure": fault, "collection": collection})
    else:
        click.echo(f"not proved: {fault}" if fault is not None else "proved: the value is the one")
    raise SystemExit(Exit.OK if fault is None else Exit.DATA)


def _private_fault(
    report: EvidenceReport, collection: str, key: str, value: bytes, namespace: str | None
) -> str | None:
    if report.statement is None:
        return f"the bundle does not verify: {report.failure}"
    return private_value_fault(report.statement, collection, key.encode(), value, namespace)


def _read(path: Path) -> bytes:
    """Return the content of a file, but not more than a byte above the limit of a bundle.

    Raises `UnavailableError` if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_BUNDLE_BYTES + 1)
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be read: {error.strerror}") from error
