"""The inventory of certificates: one document for each certificate that signed in a verified block.

It is made from the chain alone and can be made again, so documents may be updated. Every update can
be repeated, also by two processes and with older blocks: it extends the range of uses, and a
judgement by an older configuration changes nothing.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Final, TypeVar

import msgspec
from bson.int64 import Int64
from msgspec import Struct, field
from pymongo import ASCENDING, IndexModel, UpdateOne
from pymongo.asynchronous.database import AsyncDatabase

from ledger.documents.format import Document
from ledger.errors import StoreConflictError
from ledger.mongodb.collections import CERTIFICATES
from ledger.position import pack_position
from ledger.trust.acceptance import Acceptance, Judgement
from ledger.trust.certificate_uses import CertificateUse, SignerRole
from ledger.trust.verdicts import Member
from runtime.cancellation import raise_if_cancelled

CERTIFICATE_FORMAT: Final = 1
INVENTORY: Final = "inventory"
"""The `_id` of the document that says up to which block the inventory is complete."""

ORDER: Final = ("notAfter", "_id")
"""The order of lists: what expires first comes first."""

FILTERED: Final = ((), ("mspId",), ("roles",), ("mspId", "roles"))
"""The combinations of fields by which certificates can be filtered, each with an index.

In the index of each combination, the acceptance and the order of lists follow.
"""

_JUDGED_TOGETHER: Final = 200
T = TypeVar("T")


def index_fields(filtered: Sequence[str]) -> list[tuple[str, int]]:
    """Return the fields of the index for a combination of filters."""
    return [(name, ASCENDING) for name in (*filtered, "acceptance", *ORDER)]


class Inventory(Struct, frozen=True, rename="camel"):
    """The inventory has every signer of the blocks below `height`.

    `block_hash` is the hash of block `height` - 1, empty if no block is below the height.
    """

    height: int
    block_hash: str


class StoredMember(Struct, frozen=True, rename="camel"):
    """What is needed to judge a stored certificate again."""

    fingerprint: str = field(name="_id")
    msp_id: str
    der: bytes

    @property
    def member(self) -> Member:
        """The certificate as the verification knows it."""
        return Member(self.msp_id, self.der, None)


class _Seen(Struct):
    """The uses of a certificate in successive blocks."""

    use: CertificateUse
    config_block: int
    first_block: int
    last_block: int
    roles: set[SignerRole]
    first_transaction: int | None = None
    last_transaction: int | None = None


class SeenCertificates:
    """The certificates that signed in successive blocks, which are stored together."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def add(self, number: int, uses: Sequence[CertificateUse], config_block: int) -> None:
        """Add the uses in a block, under the configuration of block `config_block`.

        The blocks ascend.
        """
        for use in uses:
            seen = self._seen.get(use.facts.fingerprint)
            if seen is None:
                seen = _Seen(use, config_block, number, number, set())
                self._seen[use.facts.fingerprint] = seen
            seen.last_block = number
            seen.roles |= use.roles
            if use.indexes is not None:
                first, last = (pack_position(number, index) for index in use.indexes)
                seen.last_transaction = last
                if seen.first_transaction is None:
                    seen.first_transaction = first

    def clear(self) -> None:
        """Forget all uses: they are stored."""
        self._seen.clear()

    def updates(self) -> list[UpdateOne]:
        """Return the updates of the documents."""
        return [_update(fingerprint, seen) for fingerprint, seen in self._seen.items()]


class CertificateStore:
    """Writes the inventory of one channel; each call can be repeated."""

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        self._collection = database[CERTIFICATES]

    async def prepare(self, start: int) -> None:
        """Create the collection, its indexes, and an empty inventory from block `start` on.

        What exists is left as it is.
        """
        models = [IndexModel(index_fields(filtered)) for filtered in FILTERED]
        models.append(IndexModel([("mspId", ASCENDING), ("judgedAt", ASCENDING)]))
        await self._collection.create_indexes(models)
        raise_if_cancelled()
        empty = {
            "format": CERTIFICATE_FORMAT,
            "complete": msgspec.to_builtins(Inventory(start, "")),
        }
        await self._collection.update_one({"_id": INVENTORY}, {"$setOnInsert": empty}, upsert=True)
        raise_if_cancelled()

    async def inventory(self) -> Inventory | None:
        """Return up to where the inventory is complete, None if there is none.

        Raises `StoreConflictError` for a document of another form, as the other methods do.
        """
        found = await read_inventory(self._collection.database)
        raise_if_cancelled()
        return found

    async def add(self, seen: SeenCertificates) -> None:
        """Store the uses of certificates."""
        updates = seen.updates()
        if updates:
            await self._collection.bulk_write(updates, ordered=False)
            raise_if_cancelled()

    async def unjudged(
        self, msp_ids: Sequence[str], config_block: int
    ) -> AsyncGenerator[list[StoredMember], None]:
        """Yield the certificates of MSPs that no configuration from `config_block` on has judged.

        Those that have been yielded must be judged before the next ones are read.
        """
        query = {"mspId": {"$in": list(msp_ids)}, "judgedAt": {"$lt": config_block}}
        while True:
            cursor = self._collection.find(query, {"mspId": 1, "der": 1}, limit=_JUDGED_TOGETHER)
            documents = await cursor.to_list()
            raise_if_cancelled()
            if not documents:
                return
            yield [_convert(each["_id"], each, StoredMember) for each in documents]

    async def record_judgements(
        self,
        judged: Sequence[tuple[StoredMember, Judgement]],
        config_block: int,
    ) -> None:
        """Store what the configuration of block `config_block` says of certificates."""
        updates = [
            UpdateOne(
                {"_id": stored.fingerprint, "judgedAt": {"$lt": config_block}},
                {"$set": {**msgspec.to_builtins(judgement), "judgedAt": config_block}},
            )
            for stored, judgement in judged
        ]
        await self._collection.bulk_write(updates, ordered=False)
        raise_if_cancelled()

    async def extend(self, since: int, inventory: Inventory) -> None:
        """Record that the inventory is complete up to a block: those from `since` on were added.

        MongoDB compares embedded documents field by field, so the height decides. Raises
        `StoreConflictError` if the inventory is not complete up to `since`: it was removed.
        """
        result = await self._collection.update_one(
            {"_id": INVENTORY, "complete.height": {"$gte": since}},
            {"$max": {"complete": msgspec.to_builtins(inventory)}},
        )
        raise_if_cancelled()
        if not result.matched_count:
            raise StoreConflictError(CERTIFICATES, INVENTORY, "height", f"{since} or more", "less")


async def read_inventory(database: AsyncDatabase[Document]) -> Inventory | None:
    """Return up to where the inventory is complete, None if there is none.

    Raises `StoreConflictError` for a document of another form.
    """
    document = await database[CERTIFICATES].find_one({"_id": INVENTORY})
    if document is None:
        return None
    return _convert(INVENTORY, document.get("complete"), Inventory)


def _update(fingerprint: str, seen: _Seen) -> UpdateOne:
    facts, member = seen.use.facts, seen.use.member
    lowest: Document = {"firstBlock": seen.first_block}
    highest: Document = {"lastBlock": seen.last_block}
    if seen.first_transaction is not None and seen.last_transaction is not None:
        lowest["firstTransaction"] = Int64(seen.first_transaction)
        highest["lastTransaction"] = Int64(seen.last_transaction)
    facts_of_certificate = {
        "format": CERTIFICATE_FORMAT,
        "mspId": member.msp_id,
        "nodeRole": member.node_role,
        "subject": facts.subject,
        "issuer": facts.issuer,
        "serialNumber": facts.serial_number,
        "notBefore": facts.not_before,
        "notAfter": facts.not_after,
        "der": member.der,
        "acceptance": Acceptance.ACCEPTED.value,
        "refusal": None,
        "judgedAt": seen.config_block,
    }
    return UpdateOne(
        {"_id": fingerprint},
        {
            "$setOnInsert": facts_of_certificate,
            "$min": lowest,
            "$max": highest,
            "$addToSet": {"roles": {"$each": sorted(role.value for role in seen.roles)}},
        },
        upsert=True,
    )


def _convert(key: object, value: object, form: type[T]) -> T:
    try:
        return msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        raise StoreConflictError(
            CERTIFICATES, key, "form", f"format {CERTIFICATE_FORMAT}", str(error)
        ) from error
