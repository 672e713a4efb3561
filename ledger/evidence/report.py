"""What the verification of a bundle found, and what that proves."""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from ledger.evidence.statement import Statement

_BLOCK: Final = (
    "The orderers put this envelope at this index of block {block} of the channel {channel}: the "
    "configurations that follow from block {anchor}, whose hash you trust, name them."
)
_ANCHOR: Final = (
    "The envelope is the one of block {block} of the channel {channel}, whose hash you trust."
)
_SIGNERS: Final = (
    "The creator, and each endorser, signed what the statement says, and was a valid member of its "
    "organisation."
)
_TRUSTED_CODE: Final = (
    "The peer whose commit hash you trust gave this validation code, and all writes of the block's "
    "VALID transactions changed the state in this way."
)
_FOLLOWING_CODE: Final = (
    "Not the validation code: the commit hash {commit_hash} follows from the codes and the writes, "
    "but nobody signs commit hashes. Get the commit hash of block {block} from a peer that you "
    "trust, and compare it (--commit-hash)."
)
_UNBOUND_CODE: Final = (
    "Not the validation code: it is only what the maker of the bundle says, since the bundle has "
    "no commit hash for it."
)
_NOT_REPEATED: Final = (
    (
        "Not that the endorsements satisfy the chaincode's endorsement policy, and not that what "
        "was read was current (MVCC): peers decide this, and their answer is the validation code."
    ),
    "Not the time: a block has none, and the client chose the time in the envelope.",
)


class EvidenceReport(Struct, frozen=True, rename="camel"):
    """The outcome of a verification.

    `failure` says what is wrong, None if the bundle is verified. Then the other fields say what it
    proves: `anchor` is the number of the block whose hash is trusted, and `commit_hash` the
    recomputed commit hash of the block in hex, None if the bundle does not hold what it needs;
    `commit_hash_is_trusted` says whether the verifier knew it from elsewhere.
    """

    failure: str | None = None
    channel: str | None = None
    anchor: int | None = None
    statement: Statement | None = None
    commit_hash: str | None = None
    commit_hash_is_trusted: bool = False
    proved: tuple[str, ...] = ()
    not_proved: tuple[str, ...] = ()

    @property
    def verified(self) -> bool:
        """Whether every check succeeded."""
        return self.failure is None


def report(
    channel: str,
    anchor: int,
    statement: Statement,
    commit_hash: bytes | None,
    *,
    commit_hash_is_trusted: bool,
) -> EvidenceReport:
    """Return the report on a bundle whose checks all succeeded."""
    computed = commit_hash.hex() if commit_hash is not None else None
    is_signed = statement["creator"] is not None
    names = {"block": statement["block"], "channel": repr(channel), "anchor": anchor}

    def proved() -> Iterator[str]:
        yield _BLOCK if is_signed else _ANCHOR
        if is_signed:
            yield _SIGNERS
        if commit_hash_is_trusted:
            yield _TRUSTED_CODE

    def not_proved() -> Iterator[str]:
        if not commit_hash_is_trusted:
            yield _UNBOUND_CODE if computed is None else _FOLLOWING_CODE
        yield from _NOT_REPEATED

    return EvidenceReport(
        channel=channel,
        anchor=anchor,
        statement=statement,
        commit_hash=computed,
        commit_hash_is_trusted=commit_hash_is_trusted,
        proved=tuple(text.format(**names) for text in proved()),
        not_proved=tuple(text.format(**names, commit_hash=computed) for text in not_proved()),
    )
