"""The steps name resolution and TCP connection of a check."""

import asyncio
import os
import socket

from cli.doctor.checks import FailedStepError, time_limit
from cli.errors import Exit

DNS, TCP = "dns", "tcp"

_NAME_ADVICE = "Check the name; if it is right, check this machine's DNS servers and /etc/hosts."
_REACH_ADVICE = (
    "Check that the server runs and listens on this address and port, and check the firewalls."
)


async def resolve(host: str, port: int, limit_s: float) -> str:
    """Return the addresses of a host name as text. Raises `FailedStepError`."""
    loop = asyncio.get_running_loop()
    async with time_limit(DNS, limit_s, _NAME_ADVICE):
        try:
            results = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            reason = error.strerror if isinstance(error, socket.gaierror) else "not a host name"
            raise FailedStepError(
                DNS, f"{host}: {reason}", _NAME_ADVICE, Exit.CONFIGURATION
            ) from error
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in results))
    if addresses == [host]:
        return "an address, not a name"
    return f"{host} is {', '.join(addresses)}"


async def connect(host: str, port: int, limit_s: float) -> str:
    """Open a connection and close it. Raises `FailedStepError`."""
    async with time_limit(TCP, limit_s, _REACH_ADVICE):
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            raise unreachable(f"{host}:{port}", error) from error
    writer.transport.abort()
    return f"{host}:{port} accepts connections"


def unreachable(address: str, error: OSError) -> FailedStepError:
    """Return the failure of the TCP step for a failed connection."""
    # The text of asyncio's error lacks the reason.
    reason = os.strerror(error.errno) if error.errno else str(error)
    return FailedStepError(TCP, f"{address}: {reason}", _REACH_ADVICE, Exit.UNAVAILABLE)
