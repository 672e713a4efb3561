"""Brings the verification of signatures to a block in the middle of a ledger.

The signatures of a block are judged by the configuration and the chaincode definitions that earlier
blocks set. Which blocks these are, the store says; their content is read from the source.
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from indexer.audit.signature_checks import SignatureChecks
from indexer.envelopes.session import definition_blocks
from indexer.sources.block_source import BlockNotAvailableError, BlockSource
from ledger.decoding.blocks import UndecodedBlock, read_block
from ledger.decoding.config_blocks import is_config_block
from ledger.errors import ChainMismatchError
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.verdicts import VerdictStore, read_verdict

_OTHER_BLOCK = (
    "The signatures of later blocks are judged by this block. Find out with the blocks of another "
    "peer whether the stored block or the source is right."
)


async def restore_trust(
    checks: SignatureChecks,
    store: LedgerStore,
    source: BlockSource,
    anchor: UndecodedBlock | None,
    *,
    start: int,
    first: int,
) -> list[str]:
    """Let the checks begin at block `first`, above the start block `start` of the ledger.

    `anchor` is a CONFIG block that the operator trusts. The blocks that changed definitions are
    those that the verdicts name; without verdicts, files are read from block 0. Return what is not
    known: the configuration if no block of the ledger has it, and the definitions if the ledger
    starts above block 0, or if a peer would have to give all blocks.

    Raises `ChainMismatchError` if such a block of the source is not the stored one,
    `StoreConflictError` if the verdicts were changed, and `SourceUnavailableError` if the source
    does not give a block.
    """
    config = await _config_in_force(store, source, anchor, start, first)
    verdict = await read_verdict(store.database, first - 1)
    complete = start == 0 and (verdict is not None or source.finite)
    checks.begin_at(first, config, complete=complete)
    definitions: Iterable[int] = range(start, first)
    if verdict is not None or not complete:
        definitions = await definition_blocks(VerdictStore(store.database), verdict, start)
    async with aclosing(_blocks(store, source, definitions)) as blocks:
        async for block in blocks:
            checks.replay(block)
    unknown = [] if config is not None else [f"the configuration in force at block {first}"]
    return unknown if complete else [*unknown, f"chaincode definitions before block {first}"]


async def _config_in_force(
    store: LedgerStore, source: BlockSource, anchor: UndecodedBlock | None, start: int, first: int
) -> UndecodedBlock | None:
    """Return the CONFIG block in force before block `first`, None if it is not known."""
    number = await store.last_config(first - 1)
    if number is None:
        return None
    if anchor is not None and anchor.number == number:
        return anchor
    if number < start:
        return None
    async with aclosing(_blocks(store, source, [number])) as blocks:
        config = await anext(blocks)
    return config if is_config_block(config) else None


async def _blocks(
    store: LedgerStore, source: BlockSource, numbers: Iterable[int]
) -> AsyncGenerator[UndecodedBlock, None]:
    """Yield these blocks of the source, each compared with the stored one.

    The numbers ascend. A peer is asked for each block; files, which are read from their beginning,
    only once.
    """
    remaining = iter(numbers)
    wanted = next(remaining, None)
    while wanted is not None:
        async with aclosing(source.blocks(wanted, None)) as delivered:
            async for each in delivered:
                if each.number < wanted:
                    continue
                if each.number > wanted:
                    raise _not_available(source, wanted)
                yield await _compared(store, read_block(each.data, each.name))
                wanted = next(remaining, None)
                if wanted is None or not source.finite:
                    break
            else:
                raise _not_available(source, wanted)


def _not_available(source: BlockSource, number: int) -> BlockNotAvailableError:
    return BlockNotAvailableError(f"{source.name} has no block {number}")


async def _compared(store: LedgerStore, block: UndecodedBlock) -> UndecodedBlock:
    """Return the block. Raises `ChainMismatchError` unless it is the stored one."""
    stored = await store.block(block.number)
    if stored is None or (stored.hash, stored.codes) != (block.hash, block.codes):
        expected = stored.hash.hex() if stored is not None else "no block"
        raise ChainMismatchError(block.number, "block", expected, block.hash.hex(), _OTHER_BLOCK)
    return block
