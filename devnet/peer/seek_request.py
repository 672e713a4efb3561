"""Fabric's rules of seeking: what a signed request says, and which blocks it asks for.

Sources: `common/deliver` and `common/ledger/blockledger/fileledger` in Fabric.
"""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

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
    """A sequence ends with this status instead of SUCCESS; a peer closes the stream after it."""

    def __init__(self, status: Status.ValueType, reason: str) -> None:
        super().__init__(f"{Status.Name(status)}: {reason}")
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class SeekRequest:
    """One request, taken apart; nothing of it is checked."""

    channel_header: ChannelHeader
    signature_header: SignatureHeader
    info: SeekInfo
    payload: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Span:
    """The blocks from `start` to `stop`, inclusive; a `stop` below `start` is never reached.

    `waits`: a block that is not there yet is waited for, otherwise it ends the sequence with 404.
    """

    start: int
    stop: int
    waits: bool


def parse_request(envelope: bytes) -> SeekRequest:
    """A serialized `common.Envelope` as a client sends it. RefusedError 400 if it does not parse at any depth."""
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


def resolve(info: SeekInfo, ledger: Ledger) -> Span:
    """The blocks that a request asks for, by the ledger's height at this moment.

    RefusedError 400 if a position is missing or start is above stop; 404 if start is above the height or below the
    ledger's first block. As in Fabric, a stop without a kind or of the kind NextCommit counts as block 0.
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
    return Span(start, stop, waits=info.behavior != SeekInfo.FAIL_IF_NOT_READY)


def _start(position: SeekPosition, ledger: Ledger) -> int:
    match position.WhichOneof("Type"):
        case "oldest":
            start = 0
        case "newest":
            # a peer that has committed nothing since its snapshot waits for the first block
            start = max(ledger.height - 1, ledger.first)
        case "specified":
            start = position.specified.number
        case "next_commit":
            start = ledger.height
        case _:
            raise RefusedError(NOT_FOUND, "start is no known kind of position")
    if not ledger.first <= start <= ledger.height:
        raise RefusedError(
            NOT_FOUND, f"start {start}, but the ledger holds {ledger.first} to {ledger.height - 1}"
        )
    return start
