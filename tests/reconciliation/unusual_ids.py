"""Ids of transactions that are hard to write in SQL."""

STRANGE_IDS = (
    "y" * 255,
    "it's",
    'a"b',
    "back\\slash\\",
    "100%_",
    "🪔" * 255,
    "$1",
    "{}",
    "{1,2}",
    "NULL",
    "' OR 1=1 --",
)
