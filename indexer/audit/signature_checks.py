"""Verifies all signatures in the blocks of a source, for `kindledger verify`."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from indexer.envelopes.verifier import EnvelopeVerifier
from indexer.pipeline.block_signatures import BlockSignatures
from ledger.decoding.blocks import UndecodedBlock
from ledger.documents.code_names import status_name
from ledger.errors import ChainMismatchError, UnsignedBlockError
from ledger.mongodb.verdicts import VERDICT_FORMAT, StoredVerdict
from ledger.trust.block_findings import BlockFindings

_MAX_SHOWN: Final = 10
"""The number of contradictions of a block that are described one by one."""


class SignatureChecks:
    """Verifies the blocks of one channel, which come in ascending order from the start block on.

    After a gap, and where the start block is above 0, the configuration and the definitions are not
    known; then nothing is found wrong. `begin_at` and `replay` tell them.
    """

    def __init__(
        self,
        start: int,
        block_signatures: BlockSignatures,
        anchor: UndecodedBlock | None = None,
    ) -> None:
        """Begin at block `start`; `anchor` is the CONFIG block in force there, if it is known."""
        self._blocks, self._next = block_signatures, start
        self._blocks.restart(anchor)
        self._envelopes = EnvelopeVerifier(complete=start == 0)
        if start and anchor is not None:
            self._envelopes.learn(anchor.envelopes[0])
        self._knows_all = start == 0
        self.not_checked: Counter[str] = Counter()
        """The envelopes that were not checked, by reason."""

    def begin_at(self, first: int, config: UndecodedBlock | None, *, complete: bool) -> None:
        """Begin at block `first`, under the configuration of the CONFIG block, None if not known.

        `complete` says whether all blocks below that changed chaincode definitions are replayed.
        """
        self._blocks.restart(config)
        self._next = first
        self._envelopes = EnvelopeVerifier(complete=complete)
        self._knows_all = complete and config is not None
        if config is not None:
            self._envelopes.learn(config.envelopes[0])

    def replay(self, block: UndecodedBlock) -> None:
        """Take the changes of chaincode definitions from a block below the first one."""
        self._envelopes.replay(block)

    def check(self, block: UndecodedBlock, stored: StoredVerdict | None) -> Iterator[str]:
        """Yield what is wrong with the signatures of a block, or with the stored verdict on it."""
        if block.number != self._next:
            self._blocks.restart(None)
            self._envelopes = EnvelopeVerifier(complete=False)
            self._knows_all = False
        self._next = block.number + 1
        try:
            self._blocks.check(block)
        except UnsignedBlockError as error:
            yield f"the orderers' signatures do not satisfy the channel's policy: {error.reason}"
        except ChainMismatchError as error:
            yield f"{error.field}: configured {error.expected}, the source has {error.got}"
        findings = self._envelopes.verify(block).findings
        for each in findings.not_checked:
            self.not_checked[each.reason] += each.count
        for found in findings.contradictions[:_MAX_SHOWN]:
            yield f"transaction {found.index} is {status_name(found.code)}: {found.reason}"
        more = findings.contradiction_count - _MAX_SHOWN
        if more > 0:
            yield f"{more} further transactions have codes that contradict their signatures"
        if stored is not None and self._knows_all:
            yield from _compare(findings, stored)


def _compare(findings: BlockFindings, stored: StoredVerdict) -> Iterator[str]:
    """Yield the fields of the stored verdict that are not what was found."""
    if stored.format != VERDICT_FORMAT:
        return
    for name in BlockFindings.__struct_fields__:
        found, kept = getattr(findings, name), getattr(stored, name)
        if found != kept:
            yield f"verdicts: {name}: the signatures give {found!r}, stored is {kept!r}"
