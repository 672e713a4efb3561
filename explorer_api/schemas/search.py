"""The results of a search."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from explorer_api.schemas.stored_values import Text

HitType = Literal["block", "transaction", "chaincode", "event", "key"]


class BlockHit(Struct, frozen=True, tag_field="type", tag="block"):
    """A block with the number or the hash that was searched for."""

    number: int
    hash: str
    ts: datetime | None
    href: str


class TransactionHit(Struct, frozen=True, rename="camel", tag_field="type", tag="transaction"):
    """A transaction whose id is, or begins with, the text that was searched for."""

    tx_id: str
    block: int
    tx_index: int
    status: str
    chaincode: Text | None
    ts: datetime | None
    href: str


class ChaincodeHit(Struct, frozen=True, tag_field="type", tag="chaincode"):
    """A chaincode whose name is, or begins with, the text that was searched for."""

    name: str
    href: str


class EventHit(Struct, frozen=True, tag_field="type", tag="event"):
    """The name of at least one event; `href` lists the events with this name."""

    name: str
    href: str


class KeyHit(Struct, frozen=True, tag_field="type", tag="key"):
    """A key that was written in a namespace; `href` is the key's history."""

    namespace: str
    key: str
    href: str


Hit = BlockHit | TransactionHit | ChaincodeHit | EventHit | KeyHit


class SearchResults(Struct, frozen=True, rename="camel"):
    """The results of a search for `query` in blocks below `height`: at most 10 of each type.

    `more` names the types that have further results. `not_searched` names the types that were not
    searched: `key` if the channel has no index of writes by key, and `chaincode` until the totals
    are ready after the start of the service. Each `href` is a path of this API.
    """

    query: str
    items: list[Hit]
    more: list[HitType]
    not_searched: list[HitType]
    height: int
