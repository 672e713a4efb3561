"""The checks of an audit that need only what is stored in MongoDB."""

from contextlib import aclosing
from typing import Final

from pymongo.errors import OperationFailure

from cli.assembly.stored_ledger import agreed_height
from cli.audit.context import AuditContext
from cli.audit.report import Check, CheckName, counted
from indexer.audit.consistency import DifferenceKind
from indexer.audit.verdict_checks import VerdictCounts, verdict_findings
from indexer.audit.verification import Difference, Verifier
from indexer.envelopes.verifier import is_unknown
from ledger.mongodb.verdicts import UNAUTHORIZED
from ledger.position import BlockNumber

CHECK_OF_DIFFERENCE: Final = {
    DifferenceKind.CHAIN: CheckName.CHAIN,
    DifferenceKind.DIGESTS: CheckName.DIGESTS,
    DifferenceKind.COUNTS: CheckName.COUNTS,
    DifferenceKind.EVENTS_WITHOUT_TRANSACTION: CheckName.EVENTS,
    DifferenceKind.DOCUMENTS: CheckName.DOCUMENTS,
    DifferenceKind.SIGNATURES: CheckName.SIGNATURES,
}
"""The check that finds a difference of this kind."""


def verifier_of(context: AuditContext) -> Verifier:
    """Return a verifier whose differences are findings of the audit."""

    def record(difference: Difference) -> None:
        context.checks[CHECK_OF_DIFFERENCE[difference.kind]].add(
            difference.kind,
            difference.what,
            block=difference.block,
            subject=difference.tx_id,
        )

    return Verifier(context.store, record, context.reached)


async def check_consistency(context: AuditContext, expected_digest: str | None) -> str | None:
    """Check the stored documents with each other; return the digest of the last block, if any."""
    context.begin("checking")
    verifier, checks = verifier_of(context), context.checks
    await verifier.check_consistency(part=context.blocks)
    checked = verifier.checked
    checks[CheckName.CHAIN].checked = checks[CheckName.DIGESTS].checked = checked.blocks
    checks[CheckName.COUNTS].checked = checked.transactions
    checks[CheckName.EVENTS].checked = checked.events
    digest = verifier.head_digest.hex() or None
    digests = checks[CheckName.DIGESTS]
    digests.checked -= checked.without_digest
    if checked.without_digest:
        digests.not_checked(
            f"{counted(checked.without_digest, 'block')} without a digest, stored by an older "
            "program: compare with a source"
        )
    if expected_digest is not None and digest is None:
        digests.not_checked("the expected digest: the last block has none")
    elif expected_digest not in (None, digest):
        digests.add(
            "expected_digest",
            f"the digest is {digest}, expected is {expected_digest}: a document of this block or "
            "of an earlier one was changed, or the digest is of another block",
            block=context.blocks.highest,
        )
    return digest


async def check_envelopes(context: AuditContext, *, verified_by_source: bool) -> None:
    """Check what the verification in the background found on each block.

    `verified_by_source` says whether the audit itself verified the signatures of all blocks.
    """
    context.begin("reading verdicts on")
    check, counts = context.checks[CheckName.VERDICTS], VerdictCounts()
    findings = verdict_findings(context.store.database, context.blocks, counts, context.reached)
    try:
        async with aclosing(findings):
            async for found in findings:
                subject = await tx_id_at(context, found.block, found.index)
                where = f"transaction {found.index}: " if found.index is not None else ""
                what = f"{where}{found.what}"
                check.add("contradiction", what, block=found.block, subject=subject)
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        check.not_checked("this user of MongoDB may not read verdicts: run config/mongo-roles.js")
        return
    check.checked = counts.verified
    for reason, count in counts.not_checked.most_common():
        count_envelopes(check, reason, count)
    if not counts.not_verified:
        return
    missing = f"{counted(counts.not_verified, 'block')} without a verdict"
    if verified_by_source:
        check.checked += counts.not_verified
        check.notes.append(f"{missing}: the audit itself verified the signatures in the source")
    else:
        why = "" if context.settings.verification.envelopes else ": verification.envelopes is off"
        check.not_checked(f"{missing} yet, the first is {counts.first_not_verified}{why}")


def count_envelopes(check: Check, reason: str, count: int) -> None:
    """Note how many envelopes were not checked for a reason, and whether it is a lack of data."""
    if is_unknown(reason):
        check.not_checked(f"{counted(count, 'envelope')}: {reason}")
    else:
        check.notes.append(
            f"not covered by the verification, {counted(count, 'envelope')}: {reason}"
        )


async def tx_id_at(context: AuditContext, number: int, index: int | None) -> str | None:
    """Return the id of a transaction by its position; None if it owns none or is not stored."""
    if index is None or index < 0:
        return None
    document = await context.reader.transaction_at(BlockNumber(number), index)
    tx_id = document.get("txId") if document is not None else None
    return tx_id if isinstance(tx_id, str) else None


def check_agreement(context: AuditContext) -> None:
    """Check up to which block the required number of organisations agree."""
    check, state, blocks = context.checks[CheckName.AGREEMENT], context.state, context.blocks
    required = context.settings.trust.peers_required
    agreed = min(agreed_height(state, context.range.stored.height, required), blocks.height)
    check.checked = max(0, agreed - blocks.lowest)
    check.notes.append(f"required is {counted(required, 'organisation')}")
    disputed = state.disputed_at if state is not None else None
    if disputed is not None and disputed <= blocks.highest:
        check.add(
            "peers_differ",
            "peers gave different blocks; `kindledger status` names the peers",
            block=disputed,
        )
    elif agreed < blocks.height:
        check.not_checked(f"not {required} organisations gave the blocks from {agreed} on yet")
