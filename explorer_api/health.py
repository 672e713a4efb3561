"""Whether the process is alive, and whether it can answer."""

from msgspec import Struct

from explorer_api.dispatch import NO_STORE, Answer, Call
from explorer_api.problems import unavailable
from ledger.documents import FORMAT


class Health(Struct, frozen=True):
    """`live` or `ready`; anything else is a problem."""

    status: str


async def live(_: Call) -> Answer:
    """The event loop turns. Nothing else is asked."""
    return Answer(Health("live"), NO_STORE)


async def ready(call: Call) -> Answer:
    """MongoDB answers, and every channel's database is one that this program can read."""
    await call.services.channels.ping()
    for channel in await call.services.channels.all():
        head = await channel.reader.head()
        if head is None:
            continue  # nothing indexed yet, nothing to read
        if head["format"] > FORMAT:
            raise unavailable(
                "not-ready",
                "Not ready",
                f"Channel {channel.name} was indexed by a newer program, in format {head['format']}.",
                f"This program reads formats up to {FORMAT}: update it.",
            )
        missing = await channel.reader.missing_indexes()
        if missing:
            raise unavailable(
                "not-ready",
                "Not ready",
                f"Channel {channel.name} lacks the indexes {', '.join(missing)}.",
                "Start `kindledger run` once: it creates them.",
            )
    return Answer(Health("ready"), NO_STORE)
