"""Verifies a bundle: every byte of it is recomputed from its blocks, and none is believed."""

from typing import Any

from msgspec import Struct

from ledger.evidence.bundle import encode_bundle, read_bundle
from ledger.evidence.examination import examine
from ledger.evidence.report import EvidenceReport, report
from ledger.evidence.statement import Statement
from ledger.trust.verdicts import RefusedError, UncheckedError


class Trusted(Struct, frozen=True):
    """What the verifier knows from elsewhere.

    `anchor_hash`: the header hash of the genesis block, or of another CONFIG block. `commit_hash`:
    the commit hash that a peer has for the bundle's block, None if the verifier has none.
    """

    anchor_hash: bytes
    commit_hash: bytes | None = None


def verify_bundle(data: bytes, trusted: Trusted) -> EvidenceReport:
    """Return what a bundle proves to whoever trusts these hashes, or why it proves nothing.

    No content of a bundle raises an error, and its cost is bounded by `MAX_BUNDLE_BYTES`.
    """
    try:
        return _verify(data, trusted)
    except UncheckedError as error:
        return EvidenceReport(failure=f"cannot be checked: {error}")
    except RefusedError as error:
        return EvidenceReport(failure=str(error))


def _verify(data: bytes, trusted: Trusted) -> EvidenceReport:
    contents, claimed = read_bundle(data)
    examined = examine(contents, trusted.anchor_hash)
    _compare(claimed, examined.statement)
    if encode_bundle(contents, examined) != data:
        raise RefusedError(
            "the bundle is not in the layout of its format: the channel or the checks were "
            "changed, or it was formatted by another program"
        )
    if trusted.commit_hash is not None and trusted.commit_hash != examined.commit_hash:
        computed = examined.commit_hash.hex() if examined.commit_hash is not None else "none"
        raise RefusedError(
            f"the trusted commit hash is {trusted.commit_hash.hex()}, and that of the bundle is "
            f"{computed}: the validation codes or writes are others than the peer has"
        )
    return report(
        examined.channel,
        examined.anchor,
        examined.statement,
        examined.commit_hash,
        commit_hash_is_trusted=trusted.commit_hash is not None,
    )


def _compare(claimed: dict[str, Any], statement: Statement) -> None:
    """Raise `RefusedError`, which names the first wrong fact, unless the statements are equal."""
    for name, fact in statement.items():
        if claimed.get(name) != fact:
            raise RefusedError(f"the statement is wrong about {name}: the block says {fact!r:.200}")
    surplus = claimed.keys() - statement.keys()
    if surplus:
        raise RefusedError(f"the statement has unknown facts: {sorted(surplus)!r:.200}")
