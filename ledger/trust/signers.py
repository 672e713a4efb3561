"""The signers of a block or of a transaction: whose signatures are good, each counted once."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from google.protobuf.message import DecodeError

from ledger.trust.msp import Msp
from ledger.trust.msp_identity import MspIdentity
from ledger.trust.verdicts import RefusedError, UncheckedError
from protos.msp_pb2 import SerializedIdentity

Msps = Mapping[str, Msp | str]
"""The MSPs of a channel by id; a text says why one cannot be used here."""


class Signed(NamedTuple):
    """A signature: the `msp.SerializedIdentity` that claims it, what it signs, and its bytes."""

    identity: bytes
    message: bytes
    signature: bytes


class Signer(NamedTuple):
    """An identity with a good signature, and its MSP."""

    msp: Msp
    identity: MspIdentity


class Signers(NamedTuple):
    """The signers of a set of signatures.

    `good`: those with a good signature, in order; some may still be invalid members. `faults`: why
    the other signatures do not count. `unchecked`: why some could not be checked.
    """

    good: tuple[Signer, ...] = ()
    faults: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()

    @property
    def members(self) -> tuple[Signer, ...]:
        """The good signers that are valid members of their MSP."""
        return tuple(signer for signer in self.good if signer.identity.refusal is None)

    @property
    def organisations(self) -> tuple[str, ...]:
        """The MSP ids of the valid members, sorted and distinct."""
        return tuple(sorted({signer.msp.name for signer in self.members}))


def find_identity(msps: Msps, serialized: bytes) -> Signer:
    """Return the identity in a `msp.SerializedIdentity`, and its MSP.

    Raises `RefusedError` when it is none of the channel's identities, and `UncheckedError` when
    its MSP cannot be used here.
    """
    try:
        claimed = SerializedIdentity.FromString(serialized)
    except DecodeError:
        raise RefusedError("the identity cannot be parsed") from None
    return find_certificate(msps, claimed.mspid, claimed.id_bytes)


def find_certificate(msps: Msps, msp_id: str, pem: bytes) -> Signer:
    """Return the identity in the PEM text of a certificate; see `find_identity`."""
    msp = msps.get(msp_id)
    if msp is None:
        raise RefusedError(f"the channel has no MSP {msp_id[:64]!r}")
    if isinstance(msp, str):
        raise UncheckedError(f"the MSP {msp_id[:64]!r} cannot be used: {msp}")
    return Signer(msp, msp.identity(pem))


def find_signers(msps: Msps, signatures: Iterable[Signed]) -> Signers:
    """Return the signers of a set of signatures, as Fabric's `SignatureSetToValidIdentities` does.

    An identity counts once, however often it signs. A signature that is not good is left out.
    """
    good: dict[tuple[str, bytes], Signer] = {}
    faults: list[str] = []
    unchecked: list[str] = []
    for signed in signatures:
        try:
            signer = find_identity(msps, signed.identity)
            if signer.identity.key in good:
                continue
            if not signer.identity.verify(signed.message, signed.signature):
                raise RefusedError(f"a signature of {signer.msp.name} is wrong")
            good[signer.identity.key] = signer
            if signer.identity.refusal is not None:
                faults.append(f"a signer of {signer.msp.name}: {signer.identity.refusal}")
        except RefusedError as error:
            faults.append(str(error))
        except UncheckedError as error:
            unchecked.append(str(error))
    return Signers(tuple(good.values()), tuple(faults), tuple(unchecked))
