"""The checks of an audit that need the blocks themselves: from a peer, or from files."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from bson.errors import BSONError
from msgspec import Struct

from cli.assembly.channel import new_progress
from cli.assembly.signatures import configured_anchor, signature_checks
from cli.audit.context import AuditContext
from cli.audit.ledger_checks import count_envelopes, verifier_of
from cli.audit.report import CheckName, counted
from indexer.audit.restored_trust import restore_trust
from indexer.audit.signature_checks import SignatureChecks
from indexer.audit.verification import Verifier
from indexer.progress.channel_progress import ChannelProgress
from indexer.sources.block_source import (
    BlockNotAvailableError,
    BlockSource,
    DeliveredBlock,
    SourceUnavailableError,
)
from indexer.sources.stall_limit import StallLimit
from ledger.errors import LedgerError
from ledger.mongodb.index_builds import has_owner_index
from ledger.mongodb.store import LedgerStore

OpenSource = Callable[[LedgerStore], Awaitable[BlockSource]]
"""Returns the source for the ledger in a store; raises `SourceUnavailableError` if none works."""


class SourceOutcome(Struct, frozen=True):
    """What a comparison with a source says beyond its findings.

    `in_step`: whether the highest stored block is the source's highest one. `verified`: whether all
    signatures in the blocks of the range were verified.
    """

    in_step: bool = False
    verified: bool = False


_BOTH: Final = (CheckName.DOCUMENTS, CheckName.SIGNATURES)


async def check_source(context: AuditContext, open_source: OpenSource | None) -> SourceOutcome:
    """Compare the stored documents with the blocks of a source, and verify its signatures."""
    checks = context.checks
    if open_source is None:
        reason = "no peer is configured; --source names block files or a peer"
        checks.not_checked(_BOTH, reason)
        return SourceOutcome()
    if not await has_owner_index(context.store.database):
        checks.not_checked(_BOTH, "the index of transaction ids does not exist yet")
        return SourceOutcome()
    try:
        source = StallLimit(await open_source(context.store), context.settings.indexer.stall_s)
        return await SourceComparison(context, source).compare()
    except SourceUnavailableError as error:
        checks.not_checked(_BOTH, f"the source: {error}", unavailable=True)
    except LedgerError as error:
        checks[CheckName.DOCUMENTS].add("source", str(error))
        checks.not_checked(_BOTH, "the comparison ended there")
    except BSONError as error:
        checks[CheckName.DOCUMENTS].add("unreadable", f"a stored document cannot be read: {error}")
        checks.not_checked(_BOTH, "the comparison ended there")
    return SourceOutcome()


class SourceComparison:
    """Compares the audited blocks with those of one source."""

    def __init__(self, context: AuditContext, source: BlockSource) -> None:
        self._context, self._source = context, source
        self._documents = context.checks[CheckName.DOCUMENTS]
        self._signatures = context.checks[CheckName.SIGNATURES]

    async def compare(self) -> SourceOutcome:
        """Compare all blocks of the range that the source has."""
        context, source = self._context, self._source
        blocks, stored = context.blocks, context.range.stored
        self._documents.notes.append(f"compared with {self._describe_source()}")
        newest = await source.newest()
        height = blocks.height if newest is None else min(blocks.height, newest.number + 1)
        if height < blocks.height:
            reason = f"{source.name} has no block from {height} on yet"
            context.checks.not_checked(_BOTH, reason)
        if height <= blocks.lowest:
            return SourceOutcome()
        progress, verifier = new_progress(context.channel), verifier_of(context)
        signatures = await self._signatures_from(progress)
        context.begin("comparing")
        async with aclosing(source.blocks(blocks.lowest, None)) as delivered:
            compared = await verifier.compare(
                delivered, stored.lowest, height, signatures, first=blocks.lowest
            )
            self._summarise(verifier, compared, progress)
            self._count_envelopes(signatures)
            if newest is not None:
                in_step = newest.number == stored.highest
            else:
                in_step = blocks.highest == stored.highest and not await _goes_on(delivered, height)
        verified = compared == blocks.height and not self._signatures.reasons
        return SourceOutcome(in_step, verified)

    def _describe_source(self) -> str:
        source, state = self._source, self._context.state
        if source.finite:
            return source.name
        followed = state is not None and state.peer == source.name
        origin = ", from which the stored data came" if followed else ""
        return f"peer {source.name}{origin}"

    async def _signatures_from(self, progress: ChannelProgress) -> SignatureChecks:
        """Return the verification of signatures, from the first audited block on."""
        context, store = self._context, self._context.store
        first, start = context.blocks.lowest, context.range.stored.lowest
        config = await store.last_config(start)
        checks = signature_checks(context.settings, context.channel, start, config, progress)
        if first == start:
            if start:
                self._unknown([f"chaincode definitions before block {start}"])
            return checks
        anchor = configured_anchor(context.settings, context.channel)
        try:
            unknown = await restore_trust(
                checks, store, self._source, anchor, start=start, first=first
            )
        except BlockNotAvailableError as error:
            if not self._source.finite:
                raise
            checks.begin_at(first, None, complete=False)
            unknown = [f"the configuration and the definitions before block {first} ({error})"]
        self._unknown(unknown)
        return checks

    def _unknown(self, what: list[str]) -> None:
        for each in what:
            self._signatures.not_checked(f"not known: {each}")

    def _count_envelopes(self, signatures: SignatureChecks) -> None:
        for reason, count in signatures.not_checked.most_common():
            count_envelopes(self._signatures, reason, count)

    def _summarise(self, verifier: Verifier, compared: int, progress: ChannelProgress) -> None:
        count = compared - self._context.blocks.lowest
        self._documents.checked = count
        self._signatures.checked = count - progress.unchecked_signatures
        if progress.unchecked_signatures:
            which = counted(progress.unchecked_signatures, "block")
            self._signatures.not_checked(
                f"the orderers' signatures of {which}: the configuration in force is not known"
            )
        unchecked = verifier.unchecked_hashes
        if unchecked:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in unchecked.items())
            self._documents.notes.append(f"commit hashes that cannot be checked: {reasons}")


async def _goes_on(delivered: AsyncGenerator[DeliveredBlock, None], height: int) -> bool:
    """Return whether files have a block of this height or a higher one."""
    async for each in delivered:
        if each.number >= height:
            return True
    return False
