"""Assembles the verification of a channel's block signatures, as configured."""

from pathlib import Path

from cli.configuration.settings import ChannelSettings, Settings
from cli.errors import ConfigurationError
from indexer.block_signatures import BlockSignatures
from indexer.channel_progress import ChannelProgress
from ledger.decoding.blocks import UndecodedBlock, read_block
from ledger.errors import CorruptBlockError
from ledger.trust.channel_trust import from_config_envelope


def block_signatures(
    settings: Settings, channel: str, progress: ChannelProgress
) -> BlockSignatures | None:
    """Return the verification of the channel's block signatures, or None if it is turned off.

    Raises `ConfigurationError` if the configured CONFIG block cannot be used.
    """
    if not settings.verification.block_signatures:
        return None
    configured = settings.channels.get(channel, ChannelSettings())
    genesis_hash, path = configured.genesis_hash, configured.config_block
    return BlockSignatures(
        progress,
        genesis_hash=bytes.fromhex(genesis_hash) if genesis_hash is not None else None,
        anchor=_read_config_block(channel, path) if path is not None else None,
    )


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
