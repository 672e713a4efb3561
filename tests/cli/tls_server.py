"""A server that answers TLS handshakes and nothing else."""

import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_SILENCE_S = 10.0
"""The time after which a client that says nothing is left; the server ends with its last client."""


@contextmanager
def handshake_server(context: ssl.SSLContext) -> Iterator[int]:
    """Run the server while the context lasts; yield its port."""

    class Handshake(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(_SILENCE_S)
            with (
                suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as connection,
            ):
                connection.recv(1)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handshake) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
