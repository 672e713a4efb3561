"""A peer's misbehaviour on order, hooked in where a block is about to be sent.

A fault sees one block about to be sent and says what happens instead: a sequence of steps, empty if the block is
left out. Faults compose: each sees the blocks that the one before it lets through. They hold no state but `once`,
so the same requests always get the same answers. `Where` says which blocks a fault concerns.

What a peer is, rather than does, needs no fault: one that is behind, reset, forked from a block on, or joined from a
snapshot is a peer with another `Ledger` (see `Ledger.part`), and a connection that ends with GOAWAY is `Peer.stop`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import grpc

from devnet.peer.peer_ledger import Ledger
from protos.common_pb2 import Status

Edit = Callable[[bytes], bytes]
"""Changes a serialized block, see `devnet.peer.block_edits`."""


@dataclass(frozen=True, slots=True)
class SendBlock:
    """Send block `number` of `ledger`, with `edits` made in order; wait for it if it is not there yet.

    `position`: how many blocks the sequence has come to before this one.
    """

    number: int
    ledger: Ledger
    position: int
    edits: tuple[Edit, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Send nothing for some seconds; infinity stalls the stream."""

    seconds: float


@dataclass(frozen=True, slots=True)
class SendStatus:
    """Answer a status, which ends the sequence and the stream."""

    status: Status.ValueType


@dataclass(frozen=True, slots=True)
class Abort:
    """End the stream with an error of gRPC."""

    code: grpc.StatusCode


Step = SendBlock | Wait | SendStatus | Abort
Fault = Callable[[SendBlock], Iterable[Step]]
Where = Callable[[SendBlock], bool]


def plan(send: SendBlock, faults: Sequence[Fault]) -> list[Step]:
    """What the faults, in their order, make of a block that is about to be sent."""
    steps: list[Step] = [send]
    for fault in faults:
        steps = [
            made
            for step in steps
            for made in (fault(step) if isinstance(step, SendBlock) else (step,))
        ]
    return steps


def at(*numbers: int) -> Where:
    """The blocks of these numbers."""
    return lambda send: send.number in numbers


def from_block(number: int) -> Where:
    """Every block from this number on."""
    return lambda send: send.number >= number


def after(count: int) -> Where:
    """Every block of a sequence but its first `count`."""
    return lambda send: send.position >= count


def once(where: Where) -> Where:
    """The first block that fits, in the whole life of the fault; a repeated request gets the honest answer."""
    used = False

    def first(send: SendBlock) -> bool:
        nonlocal used
        fits = not used and where(send)
        used = used or fits
        return fits

    return first


def skip(where: Where) -> Fault:
    """Leave blocks out."""
    return lambda send: () if where(send) else (send,)


def duplicate(where: Where, times: int) -> Fault:
    """Send a block several times in a row."""
    return lambda send: (send,) * times if where(send) else (send,)


def swap(first: int, second: int) -> Fault:
    """Send two blocks of the channel in each other's place."""
    other = {first: second, second: first}
    return lambda send: (replace(send, number=other.get(send.number, send.number)),)


def repeat(number: int, *, after_block: int) -> Fault:
    """Send block `number` again after a later one."""
    return lambda send: (
        (send, replace(send, number=number)) if send.number == after_block else (send,)
    )


def substitute(where: Where, ledger: Ledger) -> Fault:
    """Send another chain's blocks of the same numbers: a fork from a block on, or a wrong channel."""
    return lambda send: (replace(send, ledger=ledger),) if where(send) else (send,)


def tamper(where: Where, *edits: Edit) -> Fault:
    """Change a block's bytes, see `devnet.peer.block_edits`."""
    return lambda send: (replace(send, edits=send.edits + edits),) if where(send) else (send,)


def delay(where: Where, seconds: float) -> Fault:
    """Trickle: wait before each block."""
    return lambda send: (Wait(seconds), send) if where(send) else (send,)


def stall(where: Where) -> Fault:
    """Send nothing any more, and keep the stream open."""
    return lambda send: (Wait(math.inf),) if where(send) else (send,)


def send_status(where: Where, status: Status.ValueType) -> Fault:
    """Answer a status in place of a block, which ends the stream."""
    return lambda send: (SendStatus(status),) if where(send) else (send,)


def abort(where: Where, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> Fault:
    """End the stream with an error of gRPC in place of a block."""
    return lambda send: (Abort(code),) if where(send) else (send,)
