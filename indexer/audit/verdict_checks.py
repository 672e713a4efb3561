"""Reads what the verification of the envelopes found in a part of the ledger, for audits."""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Final

from msgspec import Struct, field
from pymongo.asynchronous.database import AsyncDatabase

from ledger.decoding.block_identities import BlockIdentity
from ledger.documents.code_names import status_name
from ledger.documents.format import Document
from ledger.mongodb.block_identities import stored_identities
from ledger.mongodb.block_range import BlockRange
from ledger.mongodb.verdicts import VERDICT_FORMAT, StoredVerdict, read_verdicts
from ledger.position import BlockNumber

_BLOCKS_IN_A_QUERY: Final = 500


class VerdictFinding(Struct, frozen=True):
    """What is wrong with a block or with its verdict; `index` is that of a transaction, if any."""

    block: int
    index: int | None
    what: str


class VerdictCounts(Struct):
    """How many blocks have a verdict, and what their verdicts do not say.

    `not_verified` counts the blocks without one; `first_not_verified` is the first of them.
    `not_checked` counts the envelopes that were not checked, by reason.
    """

    verified: int = 0
    not_verified: int = 0
    first_not_verified: int | None = None
    not_checked: Counter[str] = field(default_factory=Counter)


async def verdict_findings(
    database: AsyncDatabase[Document],
    blocks: BlockRange,
    counts: VerdictCounts,
    advance: Callable[[int], None],
) -> AsyncGenerator[VerdictFinding, None]:
    """Yield what contradicts the signatures in the blocks of the range, and add to `counts`.

    A verdict is compared with the stored block: it must be about its hash and its codes. Calls
    `advance` with the height at intervals. Raises `OperationFailure` with the code `UNAUTHORIZED`
    if the user must not read verdicts.
    """
    number = blocks.lowest
    while number <= blocks.highest:
        stored = await stored_identities(database, number, blocks.height, _BLOCKS_IN_A_QUERY)
        if not stored:
            number = BlockNumber(number + 1)  # the block is missing, which the chain's check finds
            continue
        verdicts = await read_verdicts(database, number, stored[-1].number)
        for block in stored:
            verdict = verdicts.get(block.number)
            if isinstance(verdict, StoredVerdict) and verdict.format == VERDICT_FORMAT:
                _count(verdict, counts)
                for finding in _findings(block, verdict):
                    yield finding
                continue
            counts.not_verified += 1
            if counts.first_not_verified is None:
                counts.first_not_verified = block.number
            if isinstance(verdict, Exception):
                yield VerdictFinding(block.number, None, str(verdict))
        number = BlockNumber(stored[-1].number + 1)
        advance(number)


def _count(verdict: StoredVerdict, counts: VerdictCounts) -> None:
    counts.verified += 1
    for each in verdict.not_checked:
        counts.not_checked[each.reason] += each.count


def _findings(block: BlockIdentity, verdict: StoredVerdict) -> Iterator[VerdictFinding]:
    number = block.number
    if verdict.block_hash != block.hash:
        what = f"the verdict is about the block {verdict.block_hash}, stored is {block.hash}"
        yield VerdictFinding(number, None, what)
        return
    if verdict.envelopes != len(block.codes):
        what = f"the verdict is about {verdict.envelopes} envelopes, the block has "
        yield VerdictFinding(number, None, f"{what}{len(block.codes)} codes")
        return
    for found in verdict.contradictions:
        what = f"{status_name(found.code)} contradicts the signatures: {found.reason}"
        yield VerdictFinding(number, found.index, what)
    more = verdict.contradiction_count - len(verdict.contradictions)
    if more > 0:
        what = f"{more} further transactions have codes that contradict their signatures"
        yield VerdictFinding(number, None, what)
    for found in verdict.failures:
        code = block.codes[found.index] if 0 <= found.index < len(block.codes) else None
        if code != found.code:
            now = "no code" if code is None else status_name(code)
            what = (
                f"the verification found {status_name(found.code)} ({found.reason}), "
                f"stored is {now}"
            )
            yield VerdictFinding(number, found.index, what)
