"""Examines the content of a bundle: what it proves, or why it proves nothing."""

from collections.abc import Iterator

from cryptography.hazmat.primitives.hashes import SHA256
from msgspec import Struct

from ledger.decoding.blocks import UndecodedBlock, read_block
from ledger.decoding.identities import decode_identity
from ledger.errors import CorruptBlockError
from ledger.evidence.commit_hashes import check_commit_hash, state_changes
from ledger.evidence.configuration import follow
from ledger.evidence.contents import Contents
from ledger.evidence.statement import Person, Statement, make_statement
from ledger.trust.channel_trust import ChannelTrust
from ledger.trust.envelope_parts import EnvelopeParts, read_envelope
from ledger.trust.limits import MAX_SIGNATURES, MAX_SIGNED_BYTES
from ledger.trust.signers import Signed, find_identity
from ledger.trust.verdicts import RefusedError, Result, UncheckedError


class Examined(Struct, frozen=True):
    """What the content of a bundle proves.

    `anchor`: the number of the first block, on whose hash everything rests. `commit_hash`: the
    recomputed commit hash, None if the bundle has nothing to compute it from.
    """

    channel: str
    anchor: int
    statement: Statement
    commit_hash: bytes | None


def examine(contents: Contents, anchor_hash: bytes) -> Examined:
    """Make all checks of a bundle whose first block must have this hash; return what it proves.

    Raises `RefusedError` at the first check that fails, and `UncheckedError` at the first one that
    cannot be made; the messages say what is wrong.
    """
    blocks = [_read_block(each) for each in (*contents.config_blocks, contents.block)]
    current, before = follow(blocks, anchor_hash)
    block, index = blocks[-1], contents.index
    if not 0 <= index < len(block.envelopes):
        raise RefusedError(f"block {block.number} has no envelope at index {index}")
    signers: list[Person] = []
    if before is not None:
        signers = list(_signers(before.trust, read_envelope(block.envelopes[index])))
    return Examined(
        channel=current.trust.channel,
        anchor=blocks[0].number,
        statement=make_statement(block, index, signers),
        commit_hash=_commit_hash(block, contents),
    )


def _read_block(serialized: bytes) -> UndecodedBlock:
    try:
        return read_block(serialized)
    except CorruptBlockError as error:
        name = "a block" if error.block is None else f"block {error.block}"
        raise RefusedError(
            f"{name}: {error.field}: expected {error.expected}, got {error.got}"
        ) from None


def _signers(trust: ChannelTrust, parts: EnvelopeParts) -> Iterator[Person]:
    """Yield the creator and the endorsers of an envelope, each of whom must be a valid member.

    Raises `RefusedError` if one is not, or did not sign, or if the signatures are not bound to the
    parts of the transaction that the statement is about.
    """
    if parts.header_fault:
        raise RefusedError(parts.header_fault)
    if parts.channel != trust.channel:
        raise RefusedError(f"the envelope is for the channel {parts.channel[:64]!r}")
    if parts.transaction.result is not Result.VALID:
        raise RefusedError(parts.transaction.reason)
    count = len(parts.endorsements)
    if count > MAX_SIGNATURES or count * len(parts.endorsed) > MAX_SIGNED_BYTES:
        raise UncheckedError(f"the {count} endorsements, or what they sign, are too many")
    yield _signer(trust, "creator", Signed(parts.creator, parts.payload, parts.signature))
    for number, (endorser, signature) in enumerate(parts.endorsements):
        signed = Signed(endorser, parts.endorsed + endorser, signature)
        yield _signer(trust, f"endorser {number}", signed)


def _signer(trust: ChannelTrust, role: str, signed: Signed) -> Person:
    try:
        signer = find_identity(trust.msps, signed.identity)
        if signer.identity.refusal is not None:
            raise RefusedError(signer.identity.refusal)
        if not signer.identity.verify(signed.message, signed.signature):
            raise RefusedError("the signature is wrong")
        certificate = signer.identity.certificate.parsed
        fingerprint = certificate.fingerprint(SHA256()).hex()
        named = decode_identity(signed.identity)
        if named is None or named.subject is None or named.fingerprint != fingerprint:
            raise RefusedError("its certificate is not the one that its text names")
    except RefusedError as error:
        raise RefusedError(f"{role}: {error}") from None
    except UncheckedError as error:
        raise UncheckedError(f"{role}: {error}") from None
    return Person(signer.msp.name, named.subject, fingerprint)


def _commit_hash(block: UndecodedBlock, contents: Contents) -> bytes | None:
    """Return the recomputed commit hash; None if the bundle does not say the one before."""
    previous = contents.previous_commit_hash
    if previous is None:
        if contents.earlier_values:
            raise RefusedError("there are earlier values, but nothing to compute with them")
        return None
    try:
        return check_commit_hash(block, state_changes(block), previous, contents.earlier_values)
    except CorruptBlockError as error:
        raise RefusedError(f"the commit hash: expected {error.expected}, got {error.got}") from None
