"""Assembles the verification of a channel's signatures, as configured."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cli.configuration.settings import ChannelSettings, Settings
from cli.errors import ConfigurationError
from indexer.audit.signature_checks import SignatureChecks
from indexer.audit.source_checks import SourceSignatures
from indexer.envelopes.process import verifier_process
from indexer.envelopes.verification import EnvelopeVerification, VerificationTimings
from indexer.pipeline.block_signatures import BlockSignatures
from indexer.progress.channel_progress import ChannelProgress
from indexer.progress.envelope_progress import EnvelopeProgress
from indexer.sources.block_source import BlockSource
from ledger.decoding.blocks import UndecodedBlock, read_block
from ledger.errors import CorruptBlockError
from ledger.mongodb.store import LedgerStore
from ledger.trust.channel_trust import from_config_envelope


def block_signatures(
    settings: Settings, channel: str, progress: ChannelProgress
) -> BlockSignatures | None:
    """Return the verification of the channel's block signatures, or None if it is turned off.

    Raises `ConfigurationError` if the configured CONFIG block cannot be used.
    """
    if not settings.verification.block_signatures:
        return None
    return BlockSignatures(
        progress,
        genesis_hash=_genesis_hash(settings, channel),
        anchor=configured_anchor(settings, channel),
    )


def envelope_verification(
    settings: Settings,
    channel: str,
    store: LedgerStore,
    sources: Sequence[BlockSource],
    progress: ChannelProgress,
) -> EnvelopeVerification | None:
    """Return the verification of the channel's envelopes, or None if it is turned off.

    Raises `ConfigurationError` if the configured CONFIG block cannot be used.
    """
    if not settings.verification.envelopes:
        return None
    progress.envelopes = EnvelopeProgress(time.monotonic, lambda: datetime.now(UTC))
    return EnvelopeVerification(
        store,
        sources,
        progress,
        progress.envelopes,
        verifier_process,
        anchor=configured_anchor(settings, channel),
        timings=VerificationTimings(stall_s=settings.indexer.stall_s),
    )


def signature_checks(
    settings: Settings,
    channel: str,
    start: int,
    config: int | None,
    progress: ChannelProgress | None = None,
) -> SignatureChecks:
    """Return the verification of all signatures in the blocks of a source, from `start` on.

    `config` is the number of the CONFIG block in force at the start block, None if it is not known.
    `progress` counts the blocks whose signatures cannot be checked.
    Raises `ConfigurationError` if the configured CONFIG block cannot be used.
    """
    anchor = configured_anchor(settings, channel)
    if anchor is not None and anchor.number != config:
        anchor = None
    progress = progress or ChannelProgress(channel, time.monotonic, lambda: datetime.now(UTC))
    signatures = BlockSignatures(progress, genesis_hash=_genesis_hash(settings, channel))
    return SignatureChecks(start, signatures, anchor)


def source_signatures(
    settings: Settings, channel: str, progress: ChannelProgress
) -> SourceSignatures | None:
    """Return the verification of the block signatures of a source; None if it is turned off.

    Raises `ConfigurationError` if the configured CONFIG block cannot be used.
    """
    if not settings.verification.block_signatures:
        return None
    signatures = BlockSignatures(progress, genesis_hash=_genesis_hash(settings, channel))
    return SourceSignatures(signatures, configured_anchor(settings, channel))


def _genesis_hash(settings: Settings, channel: str) -> bytes | None:
    configured = settings.channels.get(channel, ChannelSettings()).genesis_hash
    return bytes.fromhex(configured) if configured is not None else None


def configured_anchor(settings: Settings, channel: str) -> UndecodedBlock | None:
    """Return the CONFIG block that the operator trusts, or None if none is configured.

    Raises `ConfigurationError` if it cannot be used.
    """
    path = settings.channels.get(channel, ChannelSettings()).config_block
    return _read_config_block(channel, path) if path is not None else None


def _read_config_block(channel: str, path: Path) -> UndecodedBlock:
    key = f"channels.{channel}.config_block"
    try:
        block = read_block(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigurationError(f"{key}: {path}: {error.strerror}") from error
    except CorruptBlockError as error:
        raise ConfigurationError(f"{key}: {error}") from error
    trust = from_config_envelope(block.envelopes[0]) if block.envelopes else "it has no envelope"
    if isinstance(trust, str):
        raise ConfigurationError(f"{key}: {path} is no CONFIG block: {trust}")
    if trust.channel != channel:
        raise ConfigurationError(f"{key}: {path} configures the channel {trust.channel!r}")
    return block
