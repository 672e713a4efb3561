"""The Redis topics on which the daemon announces ledger heights, one for each database."""

from typing import Final

_PREFIX: Final = "kindledger:head:"

ALL_HEAD_TOPICS: Final = f"{_PREFIX}*"
"""The pattern that subscribes to the topics of all databases."""


def head_topic(database: str) -> str:
    """Return the topic of the ledger that the database holds."""
    return _PREFIX + database


def database_of(topic: str) -> str:
    """Return the name of the database whose ledger has this topic."""
    return topic.removeprefix(_PREFIX)
