"""Faults that tests inject into a peer, applied to each block before it is sent.

A fault is a function from a block that is about to be sent to the steps that replace it; no steps
omit the block. Several faults apply one after the other. A `BlockPredicate` selects the blocks of a
fault. Only `once` has state, so without it equal requests get equal responses.

Some misbehaviour needs no fault. A peer that is behind, was reset, or joined from a snapshot is a
peer with another `Ledger` (see `Ledger.part`), and `Peer.stop` ends connections with GOAWAY.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import grpc
from msgspec import Struct
from msgspec.structs import replace

from devnet.peer.peer_ledger import Ledger
from protos.common_pb2 import Status

Edit = Callable[[bytes], bytes]
"""A function that changes a serialized block; see `devnet.peer.block_edits`."""


class SendBlock(Struct, frozen=True):
    """The step that sends block `number` of `ledger` after `edits`; waits if it does not exist yet.

    `position` is the number of blocks before it in the sequence.
    """

    number: int
    ledger: Ledger
    position: int
    edits: tuple[Edit, ...] = ()


class Wait(Struct, frozen=True):
    """The step that sends nothing for some seconds; infinity stalls the stream."""

    seconds: float


class SendStatus(Struct, frozen=True):
    """The step that sends a status, which ends the sequence and the stream."""

    status: Status.ValueType


class Abort(Struct, frozen=True):
    """The step that ends the stream with a gRPC error."""

    code: grpc.StatusCode


Step = SendBlock | Wait | SendStatus | Abort
Fault = Callable[[SendBlock], Iterable[Step]]
BlockPredicate = Callable[[SendBlock], bool]


def plan(send: SendBlock, faults: Sequence[Fault]) -> list[Step]:
    """Return the steps for a block after all faults, applied in their order."""
    steps: list[Step] = [send]
    for fault in faults:
        steps = [
            replacement
            for step in steps
            for replacement in (fault(step) if isinstance(step, SendBlock) else (step,))
        ]
    return steps


def at(*numbers: int) -> BlockPredicate:
    """Select the blocks with these numbers."""
    return lambda send: send.number in numbers


def from_block(number: int) -> BlockPredicate:
    """Select every block from this number on."""
    return lambda send: send.number >= number


def after(count: int) -> BlockPredicate:
    """Select every block of a sequence after the first `count` blocks."""
    return lambda send: send.position >= count


def once(where: BlockPredicate) -> BlockPredicate:
    """Select only the first block that `where` selects, over all requests."""
    used = False

    def first(send: SendBlock) -> bool:
        nonlocal used
        selected = not used and where(send)
        used = used or selected
        return selected

    return first


def skip(where: BlockPredicate) -> Fault:
    """Omit the selected blocks."""
    return lambda send: () if where(send) else (send,)


def duplicate(where: BlockPredicate, times: int) -> Fault:
    """Send each selected block several times in a row."""
    return lambda send: (send,) * times if where(send) else (send,)


def swap(first: int, second: int) -> Fault:
    """Exchange two blocks of the channel."""
    other = {first: second, second: first}
    return lambda send: (replace(send, number=other.get(send.number, send.number)),)


def repeat(number: int, *, after_block: int) -> Fault:
    """Send block `number` again after the block `after_block`."""
    return lambda send: (
        (send, replace(send, number=number)) if send.number == after_block else (send,)
    )


def substitute(where: BlockPredicate, ledger: Ledger) -> Fault:
    """Send the blocks of another chain instead, for a fork or a wrong channel."""
    return lambda send: (replace(send, ledger=ledger),) if where(send) else (send,)


def tamper(where: BlockPredicate, *edits: Edit) -> Fault:
    """Change the bytes of the selected blocks; see `devnet.peer.block_edits`."""
    return lambda send: (replace(send, edits=send.edits + edits),) if where(send) else (send,)


def delay(where: BlockPredicate, seconds: float) -> Fault:
    """Wait before each selected block."""
    return lambda send: (Wait(seconds), send) if where(send) else (send,)


def stall(where: BlockPredicate) -> Fault:
    """Stop sending at the first selected block, and keep the stream open."""
    return lambda send: (Wait(math.inf),) if where(send) else (send,)


def send_status(where: BlockPredicate, status: Status.ValueType) -> Fault:
    """Send a status instead of a selected block, which ends the stream."""
    return lambda send: (SendStatus(status),) if where(send) else (send,)


def abort(where: BlockPredicate, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> Fault:
    """End the stream with a gRPC error instead of a selected block."""
    return lambda send: (Abort(code),) if where(send) else (send,)
