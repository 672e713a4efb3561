"""Parses a signed seek request and resolves it to a range of blocks.

The rules are those of `common/deliver` and `common/ledger/blockledger/fileledger` in Fabric.
"""

from google.protobuf.message import DecodeError
from msgspec import Struct

from devnet.peer.peer_ledger import Ledger
from protos.common_pb2 import (
    BAD_REQUEST,
    NOT_FOUND,
    ChannelHeader,
    Envelope,
    Payload,
    SignatureHeader,
    Status,
)
from protos.orderer_pb2 import SeekInfo, SeekPosition


class RefusedError(Exception):
    """The peer ends a sequence with this status instead of SUCCESS, and then closes the stream."""

    def __init__(self, status: Status.ValueType, reason: str) -> None:
        super().__init__(f"{Status.Name(status)}: {reason}")
        self.status = status
        self.reason = reason


class SeekRequest(Struct, frozen=True):
    """A parsed request, of which nothing is checked yet."""

    channel_header: ChannelHeader
    signature_header: SignatureHeader
    info: SeekInfo
    payload: bytes
    signature: bytes


class BlockRange(Struct, frozen=True):
    """The blocks from `start` to `stop`, inclusive; a `stop` below `start` is never reached.

    With `waits` the peer waits for a block that does not exist yet. Otherwise this block ends the
    sequence with the status 404.
    """

    start: int
    stop: int
    waits: bool


def parse_request(envelope: bytes) -> SeekRequest:
    """Parse a serialized `common.Envelope` of a client.

    Raises RefusedError 400 if it, or a message in it, cannot be parsed.
    """
    try:
        outer = Envelope.FromString(envelope)
        payload = Payload.FromString(outer.payload)
        return SeekRequest(
            channel_header=ChannelHeader.FromString(payload.header.channel_header),
            signature_header=SignatureHeader.FromString(payload.header.signature_header),
            info=SeekInfo.FromString(payload.data),
            payload=outer.payload,
            signature=outer.signature,
        )
    except DecodeError as error:
        raise RefusedError(BAD_REQUEST, f"malformed envelope: {error}") from error


def resolve(info: SeekInfo, ledger: Ledger) -> BlockRange:
    """Return the requested range of blocks, for the current height of the ledger.

    As in Fabric, a stop without a type or of the type NextCommit means block 0. Raises RefusedError
    400 if a position is missing or start is above stop, and 404 if start is above the height or
    below the first block of the ledger.
    """
    if not info.HasField("start") or not info.HasField("stop"):
        raise RefusedError(BAD_REQUEST, "start or stop is missing")
    start = _start(info.start, ledger)
    match info.stop.WhichOneof("Type"):
        case "oldest":
            stop = start
        case "newest":
            stop = start if info.start == info.stop else ledger.height - 1
        case "specified":
            stop = info.stop.specified.number
            if stop < start:
                raise RefusedError(BAD_REQUEST, f"start {start} is above stop {stop}")
        case _:
            stop = 0
    return BlockRange(start, stop, waits=info.behavior != SeekInfo.FAIL_IF_NOT_READY)


def _start(position: SeekPosition, ledger: Ledger) -> int:
    match position.WhichOneof("Type"):
        case "oldest":
            start = 0
        case "newest":
            # A peer without blocks after its snapshot waits for the first block.
            start = max(ledger.height - 1, ledger.first)
        case "specified":
            start = position.specified.number
        case "next_commit":
            start = ledger.height
        case _:
            raise RefusedError(NOT_FOUND, "start is not a known type of position")
    if not ledger.first <= start <= ledger.height:
        raise RefusedError(
            NOT_FOUND, f"start {start} is not in the ledger: {ledger.first} to {ledger.height - 1}"
        )
    return start
