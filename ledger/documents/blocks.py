"""The document of a block, with the counts of its transactions."""

from collections import Counter
from collections.abc import Iterable

from bson.datetime_ms import DatetimeMS

from ledger.documents.code_names import status_name, type_name
from ledger.documents.digests import documents_digest
from ledger.documents.format import FORMAT, Document, milliseconds
from ledger.documents.identities import signer_document
from ledger.documents.joined import JoinedDocuments
from ledger.documents.payloads import int_value
from ledger.model import VALID, Block, Transaction


class BlockCounts:
    """Counts the transactions of a block by type, chaincode and organisation."""

    def __init__(self) -> None:
        self._types: Counter[str | None] = Counter()
        self._chaincodes: Counter[str | None] = Counter()
        self._organisations: Counter[str | None] = Counter()
        self._times: list[int] = []

    def add(self, transaction: Transaction) -> None:
        """Count a transaction."""
        self._types[type_name(transaction.type)] += 1
        self._chaincodes[transaction.chaincode_id] += 1
        self._organisations[
            transaction.creator.msp_id if transaction.creator is not None else None
        ] += 1
        ms = milliseconds(transaction.timestamp)
        if ms is not None:
            self._times.append(ms)

    def add_all(
        self,
        types: Iterable[str],
        chaincodes: Iterable[str],
        organisations: Iterable[str],
        times: Iterable[int],
    ) -> None:
        """Count transactions by lists of their types, chaincodes, organisations and known times."""
        self._types.update(types)
        self._chaincodes.update(chaincodes)
        self._organisations.update(organisations)
        self._times.extend(times)

    def ts(self) -> DatetimeMS | None:
        """Return the lower median of the clients' times; a wrong clock has little effect on it."""
        return DatetimeMS(sorted(self._times)[(len(self._times) - 1) // 2]) if self._times else None

    def fields(self, codes: bytes) -> Document:
        """Return the counts as lists of names and counts; `codes` are the validation codes."""
        by_code = Counter(codes)
        return {
            "statuses": [
                {"name": status_name(code), "count": by_code[code]} for code in sorted(by_code)
            ],
            "types": _counts(self._types),
            "chaincodes": _counts(self._chaincodes),
            "organisations": _counts(self._organisations),
        }


def _counts(counts: Counter[str | None]) -> list[Document]:
    """Return the counts in the order of the names; the count of None comes last."""
    names: list[str | None] = [*sorted(name for name in counts if name is not None)]
    if None in counts:
        names.append(None)
    return [{"name": name, "count": counts[name]} for name in names]


def block_document(
    block: Block, counts: BlockCounts, transactions: JoinedDocuments, events: JoinedDocuments
) -> Document:
    """Return the document of a block, without its signers and its digest.

    `counts` has counted the transactions, whose encoded documents and events are given.
    """
    return {
        "_id": block.number,
        "number": block.number,
        "blockHash": block.hash.hex(),
        "previousHash": block.previous_hash.hex(),
        "dataHash": block.data_hash.hex(),
        "commitHash": block.commit_hash.hex() or None,
        "transactionCount": len(block.codes),
        "validCount": block.codes.count(VALID),
        "eventCount": len(events),
        "ts": counts.ts(),
        "size": block.size,
        "validationCodes": block.codes,
        "lastConfig": int_value(block.last_config) if block.last_config is not None else None,
        "sums": counts.fields(block.codes),
        "transactionsDigest": documents_digest(transactions.raw),
        "eventsDigest": documents_digest(events.raw),
        "format": FORMAT,
    }


def signers_document(block: Block) -> Document:
    """Return the fields of the block's document that have its signers."""
    return {"signers": [signer_document(signer) for signer in block.signers]}
