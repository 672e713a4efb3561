"""Tells the reconciliation that the stored ledger has become shorter."""

from cli.assembly.postgres import postgres_failures
from cli.assembly.reconciliation import postgres_servers, reconciled_channel
from cli.configuration.settings import Settings
from ledger.position import Height
from reconciliation.channel_cursor import ChannelCursor


async def lower_settled_height(
    settings: Settings, channel: str, height: Height, block_hash: str
) -> bool:
    """Move the channel's cursor in the business database down; return whether it was higher.

    `block_hash` is the hash of the highest block that remains. Without a business database for this
    channel nothing is done.
    """
    if reconciled_channel(settings) != channel:
        return False
    with postgres_failures():
        async with postgres_servers(settings.postgres) as servers:
            return await ChannelCursor(servers.primary, channel).lower(height, block_hash)
