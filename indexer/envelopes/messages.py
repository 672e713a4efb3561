"""The messages between the daemon and its process that verifies envelopes, and how it answers.

A message is its length, four bytes, and a Struct in MessagePack.
"""

import struct
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from indexer.envelopes.verifier import EnvelopeVerifier, VerifiedBlock
from ledger.decoding.blocks import read_block
from ledger.errors import CorruptBlockError
from ledger.trust.acceptance import Judgement
from ledger.trust.block_findings import BlockFindings
from ledger.trust.verdicts import Member

LENGTH: Final = struct.Struct(">I")


class Task(StrEnum):
    """What to do with a block: see the methods of `EnvelopeVerifier`.

    `TRUST` comes with a CONFIG envelope that the operator trusts, instead of a block, and `JUDGE`
    with certificates.
    """

    TRUST = "trust"
    LEARN = "learn"
    REPLAY = "replay"
    VERIFY = "verify"
    JUDGE = "judge"


class Request(Struct, frozen=True, array_like=True):
    """A block as a peer delivered it, and the hash and codes that the stored block has.

    `name` names the bytes in messages.
    """

    task: Task
    data: bytes
    name: str = ""
    hash: bytes = b""
    codes: bytes = b""
    members: tuple[Member, ...] = ()


class Reply(Struct, frozen=True, array_like=True):
    """What was found: nothing but a `fault` if the bytes are not the stored block."""

    fault: str = ""
    verified: VerifiedBlock = VerifiedBlock(BlockFindings(0, 0))
    judgements: tuple[Judgement, ...] = ()


_requests: Final = msgspec.msgpack.Decoder(Request)
_replies: Final = msgspec.msgpack.Decoder(Reply)


def answer(verifier: EnvelopeVerifier, request: Request) -> Reply:
    """Do the task of a request, if the bytes are the stored block."""
    match request.task:
        case Task.TRUST:
            verifier.learn(request.data)
            return Reply()
        case Task.JUDGE:
            return Reply(judgements=verifier.judge(request.members))
    return _answer_about_block(verifier, request)


def _answer_about_block(verifier: EnvelopeVerifier, request: Request) -> Reply:
    try:
        block = read_block(request.data, request.name)
    except CorruptBlockError as error:
        return Reply(str(error))
    if block.hash != request.hash:
        return Reply(f"header hash: stored {request.hash.hex()}, given {block.hash.hex()}")
    if block.codes != request.codes:
        return Reply(f"codes: stored {request.codes.hex()}, given {block.codes.hex()}")
    match request.task:
        case Task.LEARN:
            verifier.learn(block.envelopes[0])
        case Task.REPLAY:
            verifier.replay(block)
        case Task.VERIFY:
            return Reply(verified=verifier.verify(block))
    return Reply()


def write(message: Request | Reply) -> bytes:
    """Return a message with its length."""
    content = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(content)) + content


def read_request(content: bytes) -> Request:
    """Return the request in a message without its length."""
    return _requests.decode(content)


def read_reply(content: bytes) -> Reply:
    """Return the reply in a message without its length."""
    return _replies.decode(content)
