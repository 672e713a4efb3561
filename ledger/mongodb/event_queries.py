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
    ChannelQueries,
    Keys,
    Page,
    Window,
    equal_to,
    equal_to_any,
    position_range,
)
from ledger.position import BlockNumber, last_position, pack_position

_BY_TX_ID = [("txId", ASCENDING)]


class EventFilter(Struct, frozen=True):
    """The conditions that an event must meet: all that are given, and one of the names.

    At most one of `chaincode`, `tx_id` and `payload` may be given, because no index has two of
    them; each can be combined with names. `payload` is the path of a field in the payload, which
    must be indexed, and the field's value as text. A text that is a JSON number, true, false or
    null also matches the JSON value. The text null also matches a list in which an element lacks
    the field.
    """

    chaincode: str | None = None
    names: tuple[str, ...] | None = None
    tx_id: str | None = None
    payload: tuple[str, str] | None = None


class EventQueries(ChannelQueries):
    """Finds events. In each method, `last` is the number of the highest block to read."""

    async def event_names(self, positions: Sequence[int]) -> dict[int, str]:
        """Return the names of the events at these positions, by position."""
        cursor = self._database[EVENTS].find({"_id": {"$in": positions}}, {"eventName": 1})
        return {event["_id"]: event["eventName"] async for event in cursor}

    async def matching_events(
        self, event_filter: EventFilter, first: int, last: BlockNumber, window: Window
    ) -> Page:
        """Return the events of blocks `first` to `last` by position.

        Raises `ValueError` when no index serves the filter.
        """
        names = event_filter.names
        query: Document
        match (event_filter.chaincode, event_filter.tx_id, event_filter.payload):
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
        query["_id"] = position_range(first, last, window)
        if names is not None:
            query["eventName"] = equal_to_any(names)
        return await self._page(EVENTS, query, window, hint=hint)

    async def has_event_name(self, name: str, last: BlockNumber) -> bool:
        """Return whether an event up to block `last` has this name."""
        query = {"eventName": equal_to(name), "_id": {"$lte": last_position(last)}}
        event = await self._database[EVENTS].find_one(query, {"_id": 1}, hint=_by([name]))
        return event is not None

    async def event_counts(self, first: int, last: BlockNumber) -> dict[str | None, int]:
        """Return the number of events of blocks `first` to `last` for each chaincode.

        Only the index is read. The name None stands for names that were too long to be stored.
        """
        in_blocks = {"$gte": pack_position(first, 0), "$lte": last_position(last)}
        pipeline: list[Document] = [
            # The condition on the chaincode lets MongoDB use the bounds of `_id` in the index, too.
            {"$match": {"chaincodeId": {"$gte": MinKey()}, "_id": in_blocks}},
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
    """Return the index on these fields, on names if they are given, and on the position."""
    return [
        (field, ASCENDING) for field in (*fields, *(() if names is None else ("eventName",)), "_id")
    ]


def _stored_value(text: str) -> Document:
    """Return the condition under which a field of a JSON payload equals `text`."""
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
