"""Stores what the verification of envelopes finds: the certificates that sign, and the verdicts.

The certificates of a block are stored before the verdict on it. So whatever ends the process, no
signer of a block with a verdict is missing in the inventory. If the inventory ends below the
highest verdict, because it was removed or an older program wrote the verdicts, the verification
begins again where the inventory ends, and leaves the verdicts that exist as they are.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from indexer.envelopes.verifier import VerifiedBlock
from indexer.progress.channel_progress import ChannelProgress
from indexer.progress.envelope_progress import EnvelopeProgress
from ledger.documents.code_names import status_name
from ledger.errors import StoreConflictError
from ledger.mongodb.certificates import CertificateStore, Inventory, SeenCertificates
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.stored_blocks import StoredBlock
from ledger.mongodb.verdicts import StoredVerdict, VerdictStore, next_verdict
from ledger.position import Height
from ledger.trust.acceptance import Judgement
from ledger.trust.verdicts import Member
from runtime.throttled_log import ThrottledLog

log = structlog.get_logger()

_MAX_LOGGED: Final = 100
"""The number of blocks with contradictions that are logged one by one."""

Judge = Callable[[Sequence[Member]], Awaitable[Sequence[Judgement]]]
"""Returns whether the configuration after the last verified block accepts certificates."""


class VerificationResults:
    """What is stored of the verification of one channel, and what is about to be stored."""

    def __init__(
        self,
        store: LedgerStore,
        progress: ChannelProgress,
        envelopes: EnvelopeProgress,
        verdicts: VerdictStore | None = None,
        certificates: CertificateStore | None = None,
    ) -> None:
        self._store, self._progress, self._envelopes = store, progress, envelopes
        self.verdicts = verdicts or VerdictStore(store.database)
        self._certificates = certificates or CertificateStore(store.database)
        self.last: StoredVerdict | None = None
        """The verdict after which the verification goes on."""
        self._highest: StoredVerdict | None = None
        """The highest verdict that is stored."""
        self._pending: list[StoredVerdict] = []
        self._seen = SeenCertificates()
        self._logged = 0
        self._further = ThrottledLog("verdict_contradicts", channel=progress.channel)

    @property
    def next(self) -> int:
        """The number of the first block whose results are not stored."""
        return self.last.number + 1 if self.last is not None else self._progress.start_block

    async def resume(self) -> None:
        """Read how far the verification is, and check that this is about the stored chain.

        Raises `StoreConflictError` if it is not.
        """
        self._forget_pending()
        highest = await self.verdicts.highest(self._progress.committed_height)
        if highest is not None:
            await self._check("verdicts", highest.number, highest.block_hash)
        last = highest
        height = await self._inventory_height()
        if highest is not None and height <= highest.number:
            last = await self.verdicts.find(height - 1)
        self._highest = highest
        self._record(last)

    async def prepare(self) -> None:
        """Prepare the collections for results."""
        await self._certificates.prepare(self._progress.start_block)

    def add(self, stored: StoredBlock, verified: VerifiedBlock, anchor: int | None) -> None:
        """Add the results of the next block.

        `anchor` is the number of the CONFIG block that was known before the first verdict.
        """
        previous = self._pending[-1] if self._pending else self.last
        config = previous.config_block if previous is not None else anchor
        if verified.uses and config is not None:
            self._seen.add(stored.number, verified.uses, config)
        verdict = next_verdict(
            stored.number,
            stored.hash.hex(),
            verified.findings,
            previous,
            configures=verified.configures,
            defines=verified.defines,
            anchor=anchor,
        )
        self._pending.append(verdict)

    async def store(self, judge: Judge, changed_msps: Sequence[str]) -> bool:
        """Store what was added, record the progress, and log what contradicts the codes.

        `changed_msps` are those that the last block defines in another way than before: their
        certificates are judged again. Return whether there was anything to store.
        """
        if not self._pending:
            return False
        last = self._pending[-1]
        await self._certificates.add(self._seen)
        if changed_msps:
            await self._judge(judge, changed_msps, last.number)
        await self._certificates.extend(self.next, Inventory(last.number + 1, last.block_hash))
        known = self._highest.number if self._highest is not None else -1
        new = [verdict for verdict in self._pending if verdict.number > known]
        if new:
            await self.verdicts.insert(new)
            self._highest = new[-1]
        for verdict in self._pending:
            self._envelopes.checked += verdict.checked
            self._envelopes.not_checked += verdict.envelopes - verdict.checked
        for verdict in new:
            if verdict.contradictions:
                self._log(verdict)
        self._forget_pending()
        self._record(last)
        return True

    async def _judge(self, judge: Judge, msp_ids: Sequence[str], config_block: int) -> None:
        async for members in self._certificates.unjudged(msp_ids, config_block):
            judgements = await judge([stored.member for stored in members])
            judged = list(zip(members, judgements, strict=True))
            await self._certificates.record_judgements(judged, config_block)

    async def _inventory_height(self) -> int:
        start = self._progress.start_block
        inventory = await self._certificates.inventory()
        if inventory is None or inventory.height <= start:
            return start
        await self._check("certificates", inventory.height - 1, inventory.block_hash)
        return inventory.height

    async def _check(self, collection: str, number: int, block_hash: str) -> None:
        """Raise `StoreConflictError` unless the stored block of this number has this hash."""
        block = await self._store.block(number)
        stored = block.hash.hex() if block is not None else "no block"
        if stored != block_hash:
            raise StoreConflictError(collection, number, "blockHash", stored, block_hash)

    def _forget_pending(self) -> None:
        self._pending.clear()
        self._seen.clear()

    def _record(self, last: StoredVerdict | None) -> None:
        """Record the verdict after which the verification goes on, and the progress."""
        self.last = last
        highest = self._highest
        height = highest.number + 1 if highest is not None else self._progress.start_block
        total = highest.contradiction_total if highest is not None else 0
        first = highest.first_contradiction if highest is not None else None
        self._envelopes.record(Height(height), total, first, Height(self.next))
        self._progress.changed.set()

    def _log(self, verdict: StoredVerdict) -> None:
        """Log the contradictions of a block, of the first blocks one by one."""
        first = verdict.contradictions[0]
        fields = {
            "block": verdict.number,
            "contradictions": verdict.contradiction_count,
            "transaction": first.index,
            "status": status_name(first.code),
            "check": first.check.value,
            "reason": first.reason,
        }
        self._logged += 1
        if self._logged <= _MAX_LOGGED:
            log.error("verdict_contradicts", channel=self._progress.channel, **fields)
        else:
            self._further.failed(**fields)
