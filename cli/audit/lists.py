"""The lists for auditors: transactions of a range, and the changes of a key. They are streamed."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Final, TypeVar

from msgspec import Struct

from cli.audit.blocks import AuditRange
from explorer_api.schemas.identities import read_identity
from explorer_api.schemas.keys import key_write
from explorer_api.schemas.stored_values import Encoding, Text, read_list
from explorer_api.schemas.transactions import transaction_row
from ledger.documents.format import Document
from ledger.errors import LedgerError
from ledger.mongodb.paging import Window
from ledger.mongodb.reader import LedgerReader
from ledger.mongodb.transaction_queries import TransactionFilter
from ledger.position import BlockNumber

_PAGE: Final = 500
_MORE_FIELDS: Final = ("endorsers",)
T = TypeVar("T")


class ListedTransaction(Struct, frozen=True, rename="camel"):
    """A transaction in a list.

    `creator` is the organisation's MSP id. `tx_id` is null if the envelope does not own the id that
    it claims, `claimed_tx_id`. Only VALID transactions have an event.
    """

    tx_id: Text | None
    block: int
    index: int
    time: datetime | None
    code: str
    chaincode: Text | None
    function: Text | None
    creator: Text | None
    endorsing_organisations: Sequence[Text]
    event: str | None
    claimed_tx_id: Text | None


class KeyChange(Struct, frozen=True, rename="camel"):
    """A committed write or deletion of a key, and who created the transaction."""

    block: int
    index: int
    tx_id: Text | None
    time: datetime | None
    creator: Text | None
    creator_subject: Text | None
    creator_fingerprint: str | None
    change: str
    value: Text | None
    encoding: Encoding | None


class ChangedDocumentError(LedgerError):
    """A stored document that does not have the fields that were stored."""

    def __init__(self, document: Document, error: Exception) -> None:
        super().__init__(
            f"transactions_ledger {document.get('_id')}: the stored document was changed so that "
            f"it cannot be read ({error!r}): run `kindledger verify`"
        )


class ListFilter(Struct, frozen=True):
    """The organisation and the chaincode of the listed transactions, None for any."""

    msp_id: str | None = None
    chaincode: str | None = None

    def indexed(self) -> TransactionFilter:
        """Return the part of the conditions that an index serves; no index has both fields."""
        if self.msp_id is not None:
            return TransactionFilter(creator_msp=self.msp_id)
        return TransactionFilter(chaincode=self.chaincode)

    def accepts(self, transaction: ListedTransaction) -> bool:
        """Return whether a transaction that meets the indexed part meets all conditions."""
        return self.chaincode in (None, transaction.chaincode)


async def listed_transactions(
    reader: LedgerReader, audited: AuditRange, conditions: ListFilter
) -> AsyncGenerator[ListedTransaction, None]:
    """Yield the transactions of the range by position.

    In a range of times, a transaction must have a time of the range itself. Raises
    `ChangedDocumentError`, and `OperationFailure` if an index does not exist.
    """
    blocks, after = audited.blocks, None
    while blocks is not None:
        page = await reader.transactions(
            conditions.indexed(),
            blocks.lowest,
            blocks.highest,
            Window(_PAGE, descending=False, after=after),
            fields=_MORE_FIELDS,
        )
        events = await reader.event_names([document["_id"] for document in page.documents])
        for document in page.documents:
            transaction = _listed(document, events)
            if audited.contains(transaction.time) and conditions.accepts(transaction):
                yield transaction
        if not page.more:
            return
        after = page.documents[-1]["_id"]


def _listed(document: Document, events: dict[int, str]) -> ListedTransaction:
    try:
        row = transaction_row(document)
        endorsers = read_list(document.get("endorsers"), _msp_id)
        organisations = endorsers if isinstance(endorsers, list) else [endorsers]
        function = row.function
        if row.function_encoding == "base64":
            function = f"base64:{row.function}"
        return ListedTransaction(
            row.tx_id,
            row.block,
            row.tx_index,
            row.ts,
            row.status,
            row.chaincode,
            function,
            row.creator_msp,
            list(dict.fromkeys(each for each in organisations if each is not None)),
            events.get(document["_id"]),
            row.claimed_tx_id,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ChangedDocumentError(document, error) from error


def _msp_id(endorser: Document | None) -> Text | None:
    return read_identity(endorser).msp_id if endorser is not None else None


async def key_changes(
    reader: LedgerReader, namespace: str, key: str, last: BlockNumber
) -> AsyncGenerator[KeyChange, None]:
    """Yield the changes of a key by the blocks up to `last`, the oldest first.

    Raises `ChangedDocumentError`.
    """
    after: int | None = None
    while True:
        window = Window(_PAGE, descending=False, after=after)
        page = await reader.key_history(namespace, key, 0, last, window)
        for document in page.documents:
            yield _change(document)
        if not page.more:
            return
        after = page.documents[-1]["_id"]


def _change(document: Document) -> KeyChange:
    try:
        write = key_write(document)
        creator = write.creator
        return KeyChange(
            write.block,
            write.tx_index,
            write.tx_id,
            write.ts,
            creator.msp_id if creator is not None else None,
            creator.subject if creator is not None else None,
            creator.fingerprint if creator is not None else None,
            "delete" if write.is_delete else "write",
            write.value,
            write.encoding,
        )
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ChangedDocumentError(document, error) from error
