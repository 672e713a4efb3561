"""The archive of raw blocks, as configured."""

from cli.configuration.settings import Settings
from ledger.raw_blocks import RawBlocks


def raw_blocks(settings: Settings, channel: str) -> RawBlocks | None:  # noqa: ARG001
    """Return the archive with the raw blocks of a channel, None if none is configured.

    No setting configures one yet: this is the place at which an archive is plugged in, for the
    commands and for the API.
    """
    return None
