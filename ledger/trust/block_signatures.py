"""Verifies the orderers' signatures of a block against the channel's policy for blocks.

The rules are those of `BlockSignatureVerifier` in `protoutil/blockutils.go` in Fabric, which peers
and orderers use alike.
"""

from google.protobuf.message import DecodeError

from ledger.hashes import header_bytes
from ledger.trust.channel_trust import ChannelTrust
from ledger.trust.limits import MAX_SIGNATURES, MAX_SIGNATURES_BYTES
from ledger.trust.signers import Signed, Signers, find_signers
from ledger.trust.verdicts import BlockVerdict, Result, UncheckedError
from protos.common_pb2 import (
    IdentifierHeader,
    Metadata,
    MetadataSignature,
    OrdererBlockMetadata,
    SignatureHeader,
)

BLOCK_VALIDATION = "/Channel/Orderer/BlockValidation"


def verify_block_signatures(
    trust: ChannelTrust,
    number: int,
    previous_hash: bytes,
    data_hash: bytes,
    signatures_metadata: bytes,
) -> BlockVerdict:
    """Return the verdict on the signatures of a block.

    `trust` is that of the newest CONFIG block below this block: a CONFIG block is signed under the
    configuration that it replaces. `number` and both hashes are those of the header;
    `signatures_metadata` is the entry SIGNATURES of the block's metadata.

    Each signature is over the metadata's value, its own header and the block's header. A Raft
    orderer names itself by its identity, a SmartBFT orderer by its number among the configuration's
    consenters. The policy `/Channel/Orderer/BlockValidation` decides; for SmartBFT it demands a
    quorum of the consenters, which the orderers enforce when they accept a configuration.

    Nobody signs block 0: it is the anchor, and is `not_checked`. The data hash of the envelopes is
    the caller's to check.
    """
    if number == 0:
        reason = "nobody signs the genesis block: it is trusted as the anchor, or by its hash"
        return BlockVerdict(Result.NOT_CHECKED, reason)
    if len(signatures_metadata) > MAX_SIGNATURES_BYTES:
        return BlockVerdict(Result.INVALID, "the signatures of the block are too long")
    try:
        metadata = Metadata.FromString(signatures_metadata)
        last_config = _last_config(metadata.value)
    except DecodeError:
        return BlockVerdict(Result.INVALID, "the block's signatures cannot be parsed")
    if len(metadata.signatures) > MAX_SIGNATURES:
        reason = f"the block has more than {MAX_SIGNATURES} signatures"
        return BlockVerdict(Result.INVALID, reason, last_config=last_config)
    header = header_bytes(number, previous_hash, data_hash)
    try:
        signed = [_signed(trust, metadata.value, item, header) for item in metadata.signatures]
    except DecodeError:
        reason = "the header of a signature cannot be parsed"
        return BlockVerdict(Result.INVALID, reason, last_config=last_config)
    signers = find_signers(trust.msps, [item for item in signed if item is not None])
    result, reason = _evaluate(trust, signers)
    members = tuple(signer.identity.member for signer in signers.members)
    return BlockVerdict(result, reason, signers.organisations, len(members), last_config, members)


def why_undecidable(trust: ChannelTrust) -> str:
    """Return why no block can be verified under a configuration, "" if blocks can be.

    If blocks can be verified, a verdict `not_checked` has its reason in the signatures, and whoever
    made the block chose them.
    """
    result, reason = _evaluate(trust, find_signers(trust.msps, []))
    return reason if result is Result.NOT_CHECKED else ""


def _evaluate(trust: ChannelTrust, signers: Signers) -> tuple[Result, str]:
    if not trust.policies.has(BLOCK_VALIDATION):
        return Result.NOT_CHECKED, f"the channel has no policy {BLOCK_VALIDATION}"
    try:
        if trust.policies.is_satisfied(BLOCK_VALIDATION, signers):
            if signers.members:
                return Result.VALID, ""
            return Result.NOT_CHECKED, f"{BLOCK_VALIDATION} demands no signature at all"
    except UncheckedError as error:
        return Result.NOT_CHECKED, str(error)
    reason = f"{len(signers.members)} valid signatures do not satisfy {BLOCK_VALIDATION}"
    return Result.INVALID, "; ".join((reason, *signers.faults[:1]))


def _last_config(value: bytes) -> int | None:
    """Return the number of the newest CONFIG block in the signed value.

    Orderers before Fabric 1.4.1 sign no value.
    """
    return OrdererBlockMetadata.FromString(value).last_config.index if value else None


def _signed(
    trust: ChannelTrust, value: bytes, item: MetadataSignature, header: bytes
) -> Signed | None:
    """Return what a signature signs and who claims it, or None if no consenter has its number."""
    if trust.names_signers_by_number and not item.signature_header and item.identifier_header:
        number = IdentifierHeader.FromString(item.identifier_header).identifier
        identity = trust.consenters.get(number)
        if not identity:
            return None
        return Signed(identity, value + item.identifier_header + header, item.signature)
    creator = SignatureHeader.FromString(item.signature_header).creator
    return Signed(creator, value + item.signature_header + header, item.signature)
