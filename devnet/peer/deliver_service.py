"""The Deliver service: receives seek requests and sends blocks and statuses."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import grpc
import structlog

from devnet.peer.access_control import AccessControl
from devnet.peer.deliver_responses import block_response, status_response
from devnet.peer.faults import Abort, Fault, SendBlock, SendStatus, Step, Wait, plan
from devnet.peer.filtered_blocks import filtered_response
from devnet.peer.header_blocks import without_envelopes
from devnet.peer.peer_ledger import Ledger
from devnet.peer.seek_request import RefusedError, SeekRequest, parse_request, resolve
from protos.common_pb2 import NOT_FOUND, SUCCESS, Status
from protos.events_pb2 import DESCRIPTOR
from protos.orderer_pb2 import SeekInfo

Context = grpc.aio.ServicerContext[bytes, bytes]
Responder = Callable[[SendBlock, SeekInfo], bytes]

_SERVICE = DESCRIPTOR.services_by_name["Deliver"]
_log = structlog.get_logger()


class DeliverService:
    """Serves `Deliver` and `DeliverFiltered`.

    The service reads `ledgers` and `faults` at each request and block. `knows_headers`: whether it
    sends blocks without envelopes to clients that ask for this, as peers do from Fabric 3.0 on;
    earlier ones send whole blocks.
    """

    def __init__(
        self,
        ledgers: Mapping[str, Ledger],
        access: AccessControl,
        faults: Mapping[str, Sequence[Fault]],
        *,
        knows_headers: bool = True,
    ) -> None:
        self._ledgers = ledgers
        self._access = access
        self._faults = faults
        self._knows_headers = knows_headers

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handler of the service, which receives and sends messages as bytes."""
        implementations = {"Deliver": self._deliver, "DeliverFiltered": self._deliver_filtered}
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            method.name: grpc.stream_stream_rpc_method_handler(implementations[method.name])
            for method in _SERVICE.methods
        }
        return grpc.method_handlers_generic_handler(_SERVICE.full_name, methods)

    async def _deliver(self, requests: AsyncIterator[bytes], context: Context) -> None:
        await self._serve_stream(requests, context, self._block_response)

    async def _deliver_filtered(self, requests: AsyncIterator[bytes], context: Context) -> None:
        await self._serve_stream(
            requests, context, lambda send, _: filtered_response(_edited(send))
        )

    def _block_response(self, send: SendBlock, info: SeekInfo) -> bytes:
        if self._knows_headers and info.content_type == SeekInfo.HEADER_WITH_SIG:
            return block_response(without_envelopes(_edited(send)))
        return block_response(_edited(send)) if send.edits else send.ledger.response(send.number)

    async def _serve_stream(
        self, requests: AsyncIterator[bytes], context: Context, respond: Responder
    ) -> None:
        """Send one sequence after the other; the first failure ends the stream."""
        async for request in requests:
            status = await self._serve_sequence(request, context, respond)
            await context.write(status_response(status))
            if status != SUCCESS:
                return

    async def _serve_sequence(
        self, envelope: bytes, context: Context, respond: Responder
    ) -> Status.ValueType:
        try:
            request = parse_request(envelope)
            self._access.check_header(request.channel_header, _client_certificate(context))
            await self._send_blocks(request, context, respond)
        except RefusedError as refused:
            _log.info(
                "seek_refused",
                status=Status.Name(refused.status),
                reason=refused.reason,
                client=context.peer(),
            )
            return refused.status
        return SUCCESS

    async def _send_blocks(
        self, request: SeekRequest, context: Context, respond: Responder
    ) -> None:
        channel = request.channel_header.channel_id
        ledger = self._ledgers.get(channel)
        if ledger is None:
            raise RefusedError(NOT_FOUND, f"channel {channel!r} is not on this peer")
        expiry = self._access.check_identity(request)
        requested = resolve(request.info, ledger)
        number = requested.start
        while True:
            if number >= ledger.height and not requested.waits:
                raise RefusedError(NOT_FOUND, f"block {number} does not exist yet")
            await ledger.wait_for_block(number)
            self._access.check_expiry(expiry)
            send = SendBlock(number, ledger, number - requested.start)
            for step in plan(send, self._faults.get(channel, ())):
                await _perform(step, context, lambda each: respond(each, request.info))
            if number == requested.stop:
                return
            number += 1


async def _perform(step: Step, context: Context, respond: Callable[[SendBlock], bytes]) -> None:
    match step:
        case SendBlock():
            await step.ledger.wait_for_block(step.number)
            await context.write(respond(step))
        case Wait(seconds):
            await asyncio.sleep(seconds)
        case SendStatus(status):
            raise RefusedError(status, "a configured fault of this peer")
        case Abort(code):
            await context.abort(code, "a configured fault of this peer")


def _edited(send: SendBlock) -> bytes:
    block = send.ledger.block(send.number)
    for edit in send.edits:
        block = edit(block)
    return block


def _client_certificate(context: Context) -> bytes | None:
    """Return the client certificate of the TLS handshake (DER), None without one."""
    pem = next(iter(context.auth_context().get("x509_pem_cert", ())), None)
    return None if pem is None else ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))
