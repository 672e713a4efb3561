"""A TCP port of 127.0.0.1 that a server can take."""

import secrets
import socket

from devnet.servers.errors import ServerError

_PORTS = range(15000, 32000)
"""Below the ports that Linux gives outgoing connections (32768 and up): one of those could take the port of a
server that is down for a moment, and a client that tries to connect again could even be connected to itself."""
_ATTEMPTS = 100


def free_port() -> int:
    """A port that nobody listens on at this moment. Raises ServerError if none is found."""
    for _ in range(_ATTEMPTS):
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerError(
        f"No free port found: {_ATTEMPTS} ports of 127.0.0.1 from {_PORTS.start} to {_PORTS.stop - 1} were tried "
        "and could not be bound. Stop what uses them, or give a port."
    )
