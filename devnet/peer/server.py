"""The gRPC server of a peer: the Deliver service on a port, with or without TLS."""

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import grpc

from devnet.peer.access_control import AccessControl
from devnet.peer.deliver_service import DeliverService
from devnet.peer.faults import Fault
from devnet.peer.peer_ledger import Ledger
from devnet.peer.tls import ServerTls

_OPTIONS = [
    ("grpc.so_reuseport", 0),  # a second peer on the same port is an error
    ("grpc.max_receive_message_length", 100 * 1024 * 1024),  # as in Fabric; sending has no limit
    # `peer.keepalive.minInterval`: clients that ping more often get GOAWAY.
    ("grpc.http2.min_ping_interval_without_data_ms", 60_000),
    ("grpc.keepalive_permit_without_calls", 1),
]


class Peer:
    """Serves the ledgers of its channels to the members of `organisations`.

    `organisations`: the authorities' certificates (PEM) for each MSP id, as returned by
    `channel_config.organisations`; None serves every client without a signature.
    `faults`: the faults of each channel, in their order; see `devnet.peer.faults`.
    `clock`: returns seconds since 1970. `port`: 0 takes a free port. `knows_headers`: False for a
    peer before Fabric 3.0, which sends whole blocks to a client that asks for their headers.

    The peer reads `ledgers` and `faults` at each request and block, so callers can change them
    while the peer runs. A peer that is stopped and started again keeps its port. As a context
    manager it starts on entry and stops on exit, without a grace period.
    """

    def __init__(
        self,
        ledgers: Mapping[str, Ledger],
        *,
        tls: ServerTls | None = None,
        organisations: Mapping[str, Sequence[bytes]] | None = None,
        faults: Mapping[str, Sequence[Fault]] | None = None,
        clock: Callable[[], float] = time.time,
        port: int = 0,
        knows_headers: bool = True,
    ) -> None:
        self.port = port
        """The port on 127.0.0.1, known once the peer has started."""
        mutual_tls = tls is not None and tls.client_authority is not None
        access = AccessControl(organisations, mutual_tls=mutual_tls, clock=clock)
        self._service = DeliverService(
            ledgers, access, {} if faults is None else faults, knows_headers=knows_headers
        )
        self._tls = tls
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        """The host and port, known once the peer has started."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> int:
        """Start the server and return its port. Raises RuntimeError if the port is in use."""
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((self._service.handler(),))
        if self._tls is None:
            self.port = server.add_insecure_port(self.address)
        else:
            self.port = server.add_secure_port(self.address, self._tls.credentials())
        await server.start()
        self._server = server
        return self.port

    async def stop(self, grace: float | None = None) -> None:
        """Send GOAWAY, and cancel the streams after `grace` seconds; do nothing if stopped."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
