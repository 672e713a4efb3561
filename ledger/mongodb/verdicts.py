"""The verdicts on the blocks' signatures: one document for each block whose envelopes were checked.

They are inserted in ascending order without a gap, so the highest one tells up to which height the
envelopes are verified. Each document also says which blocks hold the configuration and the
chaincode definitions in force after its block, so that the verification can go on there.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct, field
from pymongo import DESCENDING
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, OperationFailure

from ledger.documents.format import Document
from ledger.errors import StoreConflictError
from ledger.mongodb.collections import VERDICTS
from ledger.trust.block_findings import BlockFindings, Finding, ReasonCount
from runtime.cancellation import raise_if_cancelled

VERDICT_FORMAT: Final = 1
"""The version of the form and of the content of verdicts; another program's are not compared."""

UNAUTHORIZED: Final = 13
"""MongoDB's code for a missing right."""

_DUPLICATE_KEY: Final = 11000


class StoredVerdict(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The verdict on a block; see `BlockFindings`. Empty lists and zeros are not stored.

    `config_block`: the block whose configuration is in force after this block, None if it is not
    known. `definitions_block`: the last block up to this one that changed chaincode definitions.
    `contradiction_total` and `first_contradiction` are about all blocks up to this one.
    """

    number: int = field(name="_id")
    format: int
    block_hash: str
    envelopes: int
    checked: int
    not_checked: tuple[ReasonCount, ...] = ()
    failures: tuple[Finding, ...] = ()
    failure_count: int = 0
    contradictions: tuple[Finding, ...] = ()
    contradiction_count: int = 0
    config_block: int | None = None
    definitions_block: int | None = None
    contradiction_total: int = 0
    first_contradiction: int | None = None

    @property
    def has_findings(self) -> bool:
        """Whether a check failed, was not made, or contradicts a code."""
        return bool(self.failures or self.contradictions or self.not_checked)


def next_verdict(
    number: int,
    block_hash: str,
    findings: BlockFindings,
    previous: StoredVerdict | None,
    *,
    configures: bool,
    defines: bool,
    anchor: int | None = None,
) -> StoredVerdict:
    """Return the verdict on a block after the `previous` one.

    `configures` and `defines` say whether the block changes the configuration and definitions.
    `anchor` is the number of the CONFIG block that was known before the first verdict.
    """
    config = previous.config_block if previous is not None else anchor
    definitions = previous.definitions_block if previous is not None else None
    total = previous.contradiction_total if previous is not None else 0
    first = previous.first_contradiction if previous is not None else None
    return StoredVerdict(
        number=number,
        format=VERDICT_FORMAT,
        block_hash=block_hash,
        **msgspec.structs.asdict(findings),
        config_block=number if configures else config,
        definitions_block=number if defines else definitions,
        contradiction_total=total + findings.contradiction_count,
        first_contradiction=number if first is None and findings.contradictions else first,
    )


class VerdictStore:
    """Reads and writes the verdicts on one channel's blocks; each call can be repeated."""

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        self._collection = database[VERDICTS]

    async def highest(self, height: int) -> StoredVerdict | None:
        """Return the verdict on the highest block below `height` that has one.

        Raises `StoreConflictError` for a document that is no verdict, as the other methods do.
        """
        query = {"_id": {"$lt": height, "$gte": 0}}
        document = await self._collection.find_one(query, sort=[("_id", DESCENDING)])
        raise_if_cancelled()
        return _read(document) if document is not None else None

    async def find(self, number: int) -> StoredVerdict | None:
        """Return the verdict on a block, None if there is none."""
        document = await self._collection.find_one({"_id": number})
        raise_if_cancelled()
        return _read(document) if document is not None else None

    async def insert(self, verdicts: Sequence[StoredVerdict]) -> None:
        """Insert verdicts on successive blocks in ascending order; compare those that exist.

        Raises `StoreConflictError` if a stored verdict of the same format differs.
        """
        remaining = list(verdicts)
        while remaining:
            try:
                documents = [msgspec.to_builtins(verdict) for verdict in remaining]
                await self._collection.insert_many(documents, ordered=True)
            except BulkWriteError as error:
                failure = error.details["writeErrors"][0]
                if failure["code"] != _DUPLICATE_KEY:
                    raise
                await self._compare(remaining[failure["index"]])
                remaining = remaining[failure["index"] + 1 :]
            else:
                remaining = []
            raise_if_cancelled()

    async def _compare(self, verdict: StoredVerdict) -> None:
        stored = await self.find(verdict.number)
        if stored is None or stored.format != verdict.format or stored == verdict:
            return
        for name in StoredVerdict.__struct_fields__:
            computed, found = getattr(verdict, name), getattr(stored, name)
            if computed != found:
                raise StoreConflictError(VERDICTS, verdict.number, name, computed, found)


async def read_verdict(database: AsyncDatabase[Document], number: int) -> StoredVerdict | None:
    """Return the verdict on a block, for readers.

    Return None if there is none, if it has another form, or if the user must not read verdicts,
    which the roles of an older version do not allow.
    """
    try:
        return await VerdictStore(database).find(number)
    except StoreConflictError:
        return None
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        return None


async def read_verdicts(
    database: AsyncDatabase[Document], first: int, last: int
) -> dict[int, StoredVerdict | StoreConflictError]:
    """Return the verdicts on the blocks `first` to `last` that have one, by number.

    In place of a document that is no verdict there is the error that says so. Raises
    `OperationFailure` with the code `UNAUTHORIZED` if the user must not read verdicts.
    """
    numbers = {"$gte": first, "$lte": last, "$type": ["int", "long"]}
    verdicts: dict[int, StoredVerdict | StoreConflictError] = {}
    for document in await database[VERDICTS].find({"_id": numbers}).to_list():
        try:
            verdicts[document["_id"]] = _read(document)
        except StoreConflictError as error:
            verdicts[document["_id"]] = error
    raise_if_cancelled()
    return verdicts


def _read(document: dict[str, Any]) -> StoredVerdict:
    try:
        return msgspec.convert(document, StoredVerdict)
    except msgspec.ValidationError as error:
        raise StoreConflictError(
            VERDICTS, document["_id"], "form", f"a verdict of format {VERDICT_FORMAT}", str(error)
        ) from error
