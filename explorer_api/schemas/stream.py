"""The messages of a live stream that are about the stream itself."""

from msgspec import Struct

from explorer_api.schemas.blocks import BlockRow
from explorer_api.schemas.events import Event
from explorer_api.schemas.transactions import TransactionRow


class StreamState(Struct, frozen=True, rename="camel"):
    """The first message of a stream: the heights and the state of the channel.

    Its id is the position at which the stream begins.
    """

    height: int
    agreed_height: int
    peer_height: int | None
    lag_blocks: int | None
    state: str | None


class Lagged(Struct, frozen=True, rename="camel"):
    """The last message of a stream that is closed because the client read too slowly.

    `position` is the id from which the client can resume the stream. The server still had the
    messages from `kept_from` on.
    """

    position: str
    kept_from: str


StreamMessage = StreamState | TransactionRow | Event | BlockRow | Lagged
"""The data of the messages `state`, `transaction`, `event`, `block` and `lagged`."""
