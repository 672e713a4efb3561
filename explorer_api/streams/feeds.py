"""The feeds of all channels: one for each channel, created when it is first used."""

from weakref import WeakKeyDictionary

from explorer_api.live.channels import Channel
from explorer_api.options import StreamLimits
from explorer_api.streams.feed import Feed


class Feeds:
    """Returns the feed of a channel, which keeps at most `max_bytes` of messages."""

    def __init__(self, max_bytes: int, limits: StreamLimits) -> None:
        self._max_bytes, self._limits = max_bytes, limits
        self._feeds: WeakKeyDictionary[Channel, Feed] = WeakKeyDictionary()

    def of(self, channel: Channel) -> Feed:
        """Return the feed of the channel."""
        feed = self._feeds.get(channel)
        if feed is None:
            feed = Feed(channel.reader, channel.watch, self._max_bytes, self._limits)
            self._feeds[channel] = feed
        return feed

    async def follow(self, channel: Channel) -> None:
        """Read the new messages of the channel while streams need them; until cancelled."""
        await self.of(channel).follow()
