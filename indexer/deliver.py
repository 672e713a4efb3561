"""Blocks from a peer's Deliver service, over gRPC with TLS or mutual TLS.

Source of the rules: Fabric's `common/deliver` (statuses, the signed seek, the hash of the client's TLS certificate).
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.message import DecodeError
from msgspec import Struct

from indexer.source import BlockNotAvailableError, Delivered, SourceUnavailableError
from ledger.errors import CorruptBlockError
from ledger.signing import SigningIdentity
from protos import common_pb2 as common
from protos import events_pb2 as events
from protos import orderer_pb2 as orderer

_SERVICE = events.DESCRIPTOR.services_by_name["Deliver"]
_DELIVER = f"/{_SERVICE.full_name}/Deliver"
_MAX_MESSAGE_BYTES = 100 << 20
_NO_LIMIT = 2**64 - 1
_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 60_000),  # a peer closes connections that ping more often than once a minute
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a new connection reads the certificates anew
)
_ADVICE = {
    common.BAD_REQUEST: (
        "it refused the request as malformed: its clock and this machine's may differ by more than 15 minutes, or it "
        "wants a client certificate (mutual TLS)"
    ),
    common.FORBIDDEN: (
        "it refused the request: the identity's organisation has no read right on the channel, its certificate is "
        "expired or revoked, or the MSP id is not the one that issued it"
    ),
    common.SERVICE_UNAVAILABLE: "it cannot serve the channel now",
}


class Endpoint(Struct, frozen=True):
    """A peer's address and TLS files (the CA also as PEM bytes); without `tls_ca` the connection is plaintext.

    `tls_name` is the name in the peer's certificate where it is not the address.
    """

    address: str
    tls_ca: Path | bytes | None = None
    tls_name: str | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None


class PeerSource:
    """One peer as a source of one channel's blocks. Certificates and keys are read anew at every connection."""

    finite = False

    def __init__(
        self,
        endpoint: Endpoint,
        channel: str,
        identity: Callable[[], SigningIdentity],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._endpoint, self._channel, self._identity, self._now = endpoint, channel, identity, now
        self.name = endpoint.address

    async def blocks(self, start: int, tip: int | None) -> AsyncGenerator[Delivered, None]:
        """Blocks from the tip on, for ever. Raises `SourceUnavailableError` when the stream ends."""
        first = start if tip is None else tip
        seek = orderer.SeekInfo(
            start=_specified(first), stop=_specified(_NO_LIMIT), behavior=orderer.SeekInfo.BLOCK_UNTIL_READY
        )
        async for delivered in self._deliver(seek):
            yield delivered
        raise SourceUnavailableError("ended", f"{self.name} ended the stream of blocks")

    async def newest(self) -> Delivered:
        """The peer's highest block."""
        newest = orderer.SeekPosition(newest=orderer.SeekNewest())
        async for delivered in self._deliver(orderer.SeekInfo(start=newest, stop=newest)):
            return delivered
        raise BlockNotAvailableError(f"{self.name} has no block of channel {self._channel}")

    async def _deliver(self, seek: orderer.SeekInfo) -> AsyncIterator[Delivered]:
        async with self._connected() as connection:
            deliver: grpc.aio.StreamStreamMultiCallable[common.Envelope, bytes] = connection.stream_stream(
                _DELIVER, common.Envelope.SerializeToString
            )
            call = deliver()
            try:
                await call.write(self._seek_envelope(seek))
                async for response_bytes in call:
                    delivered = self._read(response_bytes)
                    if delivered is None:
                        return
                    yield delivered
            except grpc.aio.AioRpcError as error:
                raise self._unavailable(error) from error
            finally:
                call.cancel()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[grpc.aio.Channel]:
        endpoint = self._endpoint
        options: list[tuple[str, int | str]] = list(_CHANNEL_OPTIONS)
        if endpoint.tls_ca is None:
            channel = grpc.aio.insecure_channel(endpoint.address, options)
        else:
            if endpoint.tls_name is not None:
                options.append(("grpc.ssl_target_name_override", endpoint.tls_name))
            credentials = await asyncio.to_thread(_credentials, endpoint)
            channel = grpc.aio.secure_channel(endpoint.address, credentials, options)
        try:
            yield channel
        finally:
            await channel.close()

    def _seek_envelope(self, seek: orderer.SeekInfo) -> common.Envelope:
        identity = self._identity()
        header = common.ChannelHeader(
            type=common.DELIVER_SEEK_INFO, channel_id=self._channel, tls_cert_hash=_tls_certificate_hash(self._endpoint)
        )
        header.timestamp.FromNanoseconds(int(self._now() * 1e9))
        signature_header = common.SignatureHeader(creator=identity.creator, nonce=os.urandom(24))
        payload = common.Payload(
            header=common.Header(
                channel_header=header.SerializeToString(), signature_header=signature_header.SerializeToString()
            ),
            data=seek.SerializeToString(),
        ).SerializeToString()
        return common.Envelope(payload=payload, signature=identity.sign(payload))

    def _read(self, response_bytes: bytes) -> Delivered | None:
        """The block in a response; None for the status that ends a sequence well."""
        try:
            response = events.DeliverResponse.FromString(response_bytes)
        except DecodeError:
            got = f"{len(response_bytes)} bytes that do not parse"
            raise CorruptBlockError(None, f"response of {self.name}", "a DeliverResponse", got) from None
        kind = response.WhichOneof("Type")
        if kind == "block":
            return Delivered(response.block, len(response_bytes))
        if kind != "status":
            raise SourceUnavailableError("protocol", f"{self.name} answered with neither a block nor a status")
        if response.status == common.SUCCESS:
            return None
        if response.status == common.NOT_FOUND:
            raise BlockNotAvailableError(f"{self.name}: no such channel, or no such block of it ({self._channel})")
        advice = _ADVICE.get(response.status, "an unexpected status")
        raise SourceUnavailableError(f"status_{response.status}", f"{self.name}: {advice} (status {response.status})")

    def _unavailable(self, error: grpc.aio.AioRpcError) -> SourceUnavailableError:
        code = error.code()
        return SourceUnavailableError(code.name.lower(), f"{self.name}: {code.name}: {error.details()}")


def _specified(number: int) -> orderer.SeekPosition:
    return orderer.SeekPosition(specified=orderer.SeekSpecified(number=number))


def _credentials(endpoint: Endpoint) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_read_file(endpoint.tls_ca),
        private_key=_read_file(endpoint.client_key),
        certificate_chain=_read_file(endpoint.client_certificate),
    )


def _tls_certificate_hash(endpoint: Endpoint) -> bytes:
    """What a peer that demands mutual TLS wants in the seek: the SHA-256 of the client certificate's DER."""
    pem = _read_file(endpoint.client_certificate)
    if pem is None:
        return b""
    return sha256(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)).digest()


def _read_file(path: Path | bytes | None) -> bytes | None:
    return path.read_bytes() if isinstance(path, Path) else path
