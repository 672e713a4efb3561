"""The channels that have a transaction."""

from msgspec import Struct


class TransactionLocation(Struct, frozen=True):
    """A channel that has the transaction; `href` is the transaction's path there."""

    channel: str
    href: str


class TransactionLocations(Struct, frozen=True):
    """All channels that have the transaction."""

    items: list[TransactionLocation]
