"""`python -m benchmarks.signatures`, run by `make bench-signatures`: verified envelopes a second.

Measured is the processor time, so that other load on the machine matters little: first the
verification alone, then with the process of its own that the daemon uses. What the event loop of
the daemon pays for the second one is the time of this process.
"""

import asyncio
import resource
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import click
from msgspec import Struct

from benchmarks.ledgers import MeasuredLedger, existing, forged_signed
from indexer.envelopes.messages import Request, Task
from indexer.envelopes.process import verifier_process
from indexer.envelopes.verifier import EnvelopeVerifier
from ledger.decoding.blocks import UndecodedBlock, read_block

_RECORDED = Path(__file__).parents[1] / "devnet/recorded/raft-2.5-blocks-000000-000135.tar.xz"


class Measured(Struct, frozen=True):
    """Envelopes a second of processor time, of the verification and of the daemon's part of it."""

    alone: float
    in_process: float
    daemon: float


@click.command()
@click.option("--rounds", default=3, show_default=True, help="The report has medians.")
def main(*, rounds: int) -> None:
    """Measure how many envelopes a second one core verifies."""
    click.echo("| ledger | envelopes | verified/s | in a process of its own | daemon's part |")
    click.echo("|---|---|---|---|---|")
    for ledger in (existing(_RECORDED), forged_signed()):
        files = sorted(ledger.folder.glob("*.block"))
        blocks = [path.read_bytes() for path in files]
        results = [_measure(blocks, ledger) for _ in range(rounds)]
        median = [
            statistics.median(getattr(each, name) for each in results)
            for name in Measured.__struct_fields__
        ]
        alone, in_process, daemon = (f"{value:,.0f}" for value in median)
        click.echo(
            f"| {ledger.name} | {ledger.transactions:,} | {alone} | {in_process} | {daemon} |"
        )


def _measure(blocks: Sequence[bytes], ledger: MeasuredLedger) -> Measured:
    count, undecoded = ledger.transactions, [read_block(block) for block in blocks]
    before = time.process_time()
    verifier = EnvelopeVerifier(complete=True)
    for block in undecoded:
        verifier.verify(block)
    alone = time.process_time() - before
    before, children_before = time.process_time(), _children_seconds()
    asyncio.run(_verify_in_process(blocks, undecoded))
    daemon = time.process_time() - before
    return Measured(count / alone, count / (_children_seconds() - children_before), count / daemon)


async def _verify_in_process(blocks: Sequence[bytes], undecoded: Sequence[UndecodedBlock]) -> None:
    async with verifier_process(complete=True) as verifier:
        for data, block in zip(blocks, undecoded, strict=True):
            request = Request(Task.VERIFY, data, "a block", block.hash, block.codes)
            reply = await verifier.ask(request)
            if reply.fault:
                raise click.ClickException(reply.fault)


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
