"""The port of the demo's API."""

import socket
from contextlib import closing

from cli.errors import ConfigurationError

_HOST = "127.0.0.1"
_PREFERRED = 8080


def choose_port(requested: int | None) -> int:
    """Return the requested port, else 8080 or, if it is in use, a free port.

    Raises `ConfigurationError` if the requested port cannot be used.
    """
    if requested is not None:
        try:
            return _try_port(requested)
        except OSError as error:
            raise ConfigurationError(
                f"--port: the API cannot listen on {_HOST}:{requested}: {error.strerror}; give "
                "another port, or 0 for a free one"
            ) from error
    try:
        return _try_port(_PREFERRED)
    except OSError:
        return _try_port(0)


def _try_port(port: int) -> int:
    """Return the port, or a free one for 0. Raises `OSError` if it cannot be used."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((_HOST, port))
        return int(probe.getsockname()[1])
