"""The paths of resources, which responses contain as links."""

from typing import Final
from urllib.parse import quote

API: Final = "/api/v1"


def channel_path(channel: str, *segments: str) -> str:
    """Return the path of a resource of the channel, percent-encoded."""
    path = (channel, *segments)
    return f"{API}/channels/" + "/".join(quote(segment, safe="") for segment in path)
