"""Queries over a channel's chaincode events."""

from collections.abc import Sequence

import msgspec
from bson.min_key import MinKey
from msgspec import Struct
from pymongo import ASCENDING

from ledger.documents.format import Document
from ledger.documents.payloads import int_value
from ledger.mongodb.collections import EVENTS
from ledger.mongodb.indexes import payload_path
from ledger.mongodb.paging import (
    Keys,
    Page,
    Queries,
    Window,
    equal_to,
    equal_to_any,
    positions,
    read_page,
)
from ledger.position import MAX_INDEX, BlockNumber, pack_position

_BY_TX_ID = [("txId", ASCENDING)]


class EventFilter(Struct, frozen=True):
    """Which events: those that have all of these, and one of the names.

    An index serves at most one of `chaincode`, `tx_id` and `payload`, with or without names.
    `payload` is a path below the payload, which must be one that is indexed, and a value as text:
    it stands for that text and, where it is a JSON number, true, false or null, for that as well;
    for null also what an element of a list lacks.
    """

    chaincode: str | None = None
    names: tuple[str, ...] | None = None
    tx_id: str | None = None
    payload: tuple[str, str] | None = None


class EventQueries(Queries):
    """Finds events. `last` is the highest block that may be shown."""

    async def matching_events(
        self, wanted: EventFilter, first: int, last: BlockNumber, window: Window
    ) -> Page:
        """Events of blocks `first` to `last`, by position. Raises `ValueError` where no index serves the filter."""
        names = wanted.names
        query: Document
        match (wanted.chaincode, wanted.tx_id, wanted.payload):
            case (None, None, None):
                query, hint = {}, _by(names)
            case (str(chaincode), None, None):
                query, hint = {"chaincodeId": equal_to(chaincode)}, _by(names, "chaincodeId")
            case (None, str(tx_id), None):
                query, hint = {"txId": tx_id}, _BY_TX_ID
            case (None, None, (path, value)):
                query, hint = (
                    {payload_path(path): _stored_value(value)},
                    _by(names, payload_path(path)),
                )
            case _:
                raise ValueError("no index of events serves this filter")
        query["_id"] = positions(first, last, window)
        if names is not None:
            query["eventName"] = equal_to_any(names)
        return await read_page(self._find(EVENTS, query, window, hint=hint), window.limit)

    async def has_event_name(self, name: str, last: BlockNumber) -> bool:
        """Whether an event up to block `last` has that name."""
        query = {"eventName": equal_to(name), "_id": {"$lte": pack_position(last, MAX_INDEX)}}
        return (
            await self._database[EVENTS].find_one(query, {"_id": 1}, hint=_by([name])) is not None
        )

    async def event_counts(self, first: int, last: BlockNumber) -> dict[str | None, int]:
        """How many events of blocks `first` to `last` each chaincode has set; reads the index only.

        A name that was too long to keep is None.
        """
        places = {"$gte": pack_position(first, 0), "$lte": pack_position(last, MAX_INDEX)}
        pipeline: list[Document] = [
            {
                "$match": {"chaincodeId": {"$gte": MinKey()}, "_id": places}
            },  # so that `_id` bounds the scan, too
            {"$group": {"_id": "$chaincodeId", "count": {"$sum": 1}}},
        ]
        counts: dict[str | None, int] = {}
        async for group in await self._database[EVENTS].aggregate(
            pipeline, hint=dict(_by(None, "chaincodeId"))
        ):
            name = group["_id"] if isinstance(group["_id"], str) else None
            counts[name] = counts.get(name, 0) + group["count"]
        return counts


def _by(names: Sequence[str] | None, *fields: str) -> Keys:
    """The index on these fields, on names if they are asked for, and on the position."""
    return [
        (field, ASCENDING) for field in (*fields, *(() if names is None else ("eventName",)), "_id")
    ]


def _stored_value(text: str) -> Document:
    """What a field of a JSON payload must be to equal `text`."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        value = text
    if isinstance(value, str | list | dict) or text != text.strip():
        return {"$eq": text}
    if value is None:
        return {"$in": [text, None], "$exists": True}
    if isinstance(value, int) and not isinstance(value, bool):
        value = int_value(value)
    return {"$in": [text, value]}
