"""Verifies the envelopes of a block: creators, endorsers, and the policies of the chaincodes."""

from collections.abc import Sequence
from datetime import datetime

from ledger.model import VALID as VALID_CODE
from ledger.trust.chaincode_definitions import ChaincodeDefinitions
from ledger.trust.channel_trust import ChannelTrust
from ledger.trust.endorsement_policies import check_endorsement
from ledger.trust.envelope_parts import EnvelopeParts, read_envelope
from ledger.trust.limits import MAX_SIGNATURES, MAX_SIGNED_BYTES
from ledger.trust.msp_identity import MspIdentity
from ledger.trust.signers import Signed, Signers, find_identity, find_signers
from ledger.trust.verdicts import (
    VALID,
    Check,
    EnvelopeVerdict,
    RefusedError,
    Result,
    UncheckedError,
    combine,
    invalid,
    not_checked,
)
from protos.common_pb2 import CONFIG

_GENESIS = not_checked("nobody signs the genesis block: it is trusted as the anchor")
_CONFIGURATION = not_checked(
    "the orderers decided who may change the configuration; their decision is not repeated"
)


def verify_envelopes(
    trust: ChannelTrust,
    definitions: ChaincodeDefinitions,
    number: int,
    envelopes: Sequence[bytes],
    codes: bytes,
    *,
    at: datetime | None = None,
) -> tuple[tuple[EnvelopeVerdict, ...], ChaincodeDefinitions]:
    """Return the verdict on each envelope of a block, and the definitions after the block.

    `trust` and `definitions` are those after the block below; `number` is the block's number, and
    `codes` has the validation codes that the peer gave: only VALID transactions change definitions.
    `at` is the time for `EnvelopeVerdict.expired`.

    A key whose policy another transaction of the block sets is not checked: in Fabric the answer
    depends on the order of the block.
    """
    transactions = [read_envelope(envelope) for envelope in envelopes]
    if number == 0:
        verdict = _verdict(_GENESIS, _GENESIS, _GENESIS)
        return (verdict,) * len(envelopes), definitions
    within = definitions.with_keys(transactions)
    verdicts = tuple(verify_parts(trust, within, parts, at=at) for parts in transactions)
    valid = [parts for parts, code in zip(transactions, codes, strict=True) if code == VALID_CODE]
    return verdicts, definitions.after(valid)


def verify_envelope(
    trust: ChannelTrust,
    definitions: ChaincodeDefinitions,
    envelope: bytes,
    *,
    at: datetime | None = None,
) -> EnvelopeVerdict:
    """Return the verdict on one serialized envelope; see `verify_envelopes`."""
    return verify_parts(trust, definitions, read_envelope(envelope), at=at)


def verify_parts(
    trust: ChannelTrust,
    definitions: ChaincodeDefinitions,
    parts: EnvelopeParts,
    *,
    at: datetime | None = None,
) -> EnvelopeVerdict:
    """Return the verdict on an envelope that `read_envelope` has read.

    A peer verifies that the creator is a valid member and signed the payload, that the id belongs
    to the creator, that the endorsed proposal is the one in the transaction, and that the valid
    endorsements satisfy the policies of all written namespaces. It does not look at the time: a
    certificate that has expired since its issue makes no committed transaction invalid. Only the
    nodes that accept proposals and envelopes refuse expired identities, by their own clocks.
    """
    if parts.header_fault:
        fault = invalid(parts.header_fault)
        return _verdict(fault, fault, not_checked("the envelope cannot be read"))
    if parts.channel != trust.channel:
        fault = invalid(f"the envelope is for the channel {parts.channel[:64]!r}")
        elsewhere = not_checked("the organisations of another channel are not known")
        return _verdict(elsewhere, fault, elsewhere)
    creator, identity = _creator(trust, parts)
    if parts.header_type == CONFIG:
        signers, endorsement = Signers(), _CONFIGURATION
    else:
        signers, endorsement = _endorsement(trust, definitions, parts)
    whole = combine(creator, parts.transaction, endorsement)
    is_signed = combine(creator, parts.transaction).result is Result.VALID
    return EnvelopeVerdict(
        whole.result,
        whole.reason,
        creator,
        parts.transaction,
        endorsement,
        organisations=signers.organisations,
        expired=() if at is None else _expired(identity, signers, at),
        signer=identity.member if identity is not None and is_signed else None,
        endorsers=tuple(s.identity.member for s in signers.members) if is_signed else (),
    )


def _creator(trust: ChannelTrust, parts: EnvelopeParts) -> tuple[Check, MspIdentity | None]:
    """Return the check of the creator, and its identity if there is one."""
    identity: MspIdentity | None = None
    try:
        identity = find_identity(trust.msps, parts.creator).identity
        if identity.refusal is not None:
            raise RefusedError(identity.refusal)
        if not identity.verify(parts.payload, parts.signature):
            raise RefusedError("the signature is not the creator's")
    except RefusedError as error:
        return invalid(f"creator: {error}"), identity
    except UncheckedError as error:
        return not_checked(f"creator: {error}"), identity
    return VALID, identity


def _endorsement(
    trust: ChannelTrust, definitions: ChaincodeDefinitions, parts: EnvelopeParts
) -> tuple[Signers, Check]:
    if not parts.chaincode:
        return Signers(), not_checked("the endorsed result cannot be read")
    if len(parts.endorsements) > MAX_SIGNATURES:
        return Signers(), not_checked(f"there are more than {MAX_SIGNATURES} endorsements")
    if len(parts.endorsements) * len(parts.endorsed) > MAX_SIGNED_BYTES:
        return Signers(), not_checked("the endorsements sign too many bytes")
    signatures = (
        Signed(endorser, parts.endorsed + endorser, signature)
        for endorser, signature in parts.endorsements
    )
    signers = find_signers(trust.msps, signatures)
    return signers, check_endorsement(trust, definitions, parts, signers)


def _expired(creator: MspIdentity | None, signers: Signers, at: datetime) -> tuple[str, ...]:
    identities = [signer.identity for signer in signers.good]
    if creator is not None:
        identities.append(creator)
    return tuple(sorted({i.msp_id for i in identities if i.is_outside_validity(at)}))


def _verdict(creator: Check, transaction: Check, endorsement: Check) -> EnvelopeVerdict:
    whole = combine(creator, transaction, endorsement)
    return EnvelopeVerdict(whole.result, whole.reason, creator, transaction, endorsement)
