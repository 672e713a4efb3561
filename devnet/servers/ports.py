"""Finds a free TCP port on 127.0.0.1 for a server."""

import secrets
import socket

from devnet.servers.errors import ServerError

_PORTS = range(15000, 32000)
"""The ports to choose from, below those that Linux gives to outgoing connections (from 32768).

An outgoing connection could take the port of a server that restarts, and a client that reconnects
to the server could even be connected to itself.
"""
_ATTEMPTS = 100


def free_port() -> int:
    """Return a port that no program uses at this moment. Raises ServerError if none is found."""
    for _ in range(_ATTEMPTS):
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerError(
        f"No free port was found: {_ATTEMPTS} ports of 127.0.0.1 from {_PORTS.start} to "
        f"{_PORTS.stop - 1} were tried and all are in use. Stop programs that use these ports, or "
        "give the port of the server."
    )
