"""A network of one organisation for tests of the peer, and a client of its Deliver service."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from ssl import PEM_cert_to_DER_cert

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from google.protobuf.timestamp_pb2 import Timestamp

from devnet.peer import Authority, KeyPair, Peer, ServerTls
from ledger.hashes import block_hash, data_hash
from protos.chaincode_pb2 import ChaincodeEvent
from protos.common_pb2 import (
    CONFIG,
    DELIVER_SEEK_INFO,
    ENDORSER_TRANSACTION,
    Block,
    BlockData,
    BlockHeader,
    BlockMetadata,
    ChannelHeader,
    Envelope,
    Header,
    Payload,
    SignatureHeader,
)
from protos.configuration_pb2 import Config, ConfigEnvelope, ConfigGroup, ConfigValue
from protos.events_pb2 import DeliverResponse
from protos.msp_pb2 import FabricMSPConfig, MSPConfig, SerializedIdentity
from protos.orderer_pb2 import (
    SeekInfo,
    SeekNewest,
    SeekNextCommit,
    SeekOldest,
    SeekPosition,
    SeekSpecified,
)
from protos.transaction_pb2 import (
    ChaincodeAction,
    ChaincodeActionPayload,
    ChaincodeEndorsedAction,
    ProposalResponsePayload,
    Transaction,
    TransactionAction,
)
from tests.devnet.signatures import P256_ORDER
from tests.eventually import LIMIT_S

CHANNEL = "kindledger"
HEIGHT = 10
OLDEST = SeekPosition(oldest=SeekOldest())
NEWEST = SeekPosition(newest=SeekNewest())
NEXT_COMMIT = SeekPosition(next_commit=SeekNextCommit())
NO_KIND = SeekPosition()
FAIL_IF_NOT_READY = SeekInfo.FAIL_IF_NOT_READY

TLS_AUTHORITY = Authority("tls")
SERVER = TLS_AUTHORITY.issue("peer0")
CLIENT_TLS = TLS_AUTHORITY.issue("client")
MUTUAL_TLS = ServerTls(SERVER, TLS_AUTHORITY.certificate)
ORG1 = Authority("org1")
MEMBER = ORG1.issue("reader")
MEMBERSHIP = {"Org1MSP": [ORG1.certificate]}


def at(number: int) -> SeekPosition:
    return SeekPosition(specified=SeekSpecified(number=number))


def envelope(header: ChannelHeader, data: bytes) -> bytes:
    payload = Payload(header=Header(channel_header=header.SerializeToString()), data=data)
    return Envelope(payload=payload.SerializeToString(), signature=b"signed").SerializeToString()


def transaction(number: int, index: int) -> bytes:
    event = ChaincodeEvent(
        chaincode_id="token", event_name="Mint", tx_id=f"{number}-{index}", payload=b"secret"
    )
    result = ProposalResponsePayload(
        extension=ChaincodeAction(events=event.SerializeToString()).SerializeToString()
    )
    action = ChaincodeEndorsedAction(proposal_response_payload=result.SerializeToString())
    payload = ChaincodeActionPayload(action=action).SerializeToString()
    return envelope(
        ChannelHeader(type=ENDORSER_TRANSACTION, channel_id=CHANNEL, tx_id=f"{number}-{index}"),
        Transaction(actions=[TransactionAction(payload=payload)]).SerializeToString(),
    )


def genesis() -> bytes:
    msp = FabricMSPConfig(name="Org1MSP", root_certs=[ORG1.certificate]).SerializeToString()
    org = ConfigGroup(values={"MSP": ConfigValue(value=MSPConfig(config=msp).SerializeToString())})
    groups = {
        "Application": ConfigGroup(groups={"org1": org}),
        "Orderer": ConfigGroup(groups={"orderer": org}),
    }
    config = ConfigEnvelope(config=Config(channel_group=ConfigGroup(groups=groups)))
    return envelope(ChannelHeader(type=CONFIG, channel_id=CHANNEL), config.SerializeToString())


def chain(height: int, *, label: int = 0) -> list[bytes]:
    """Return a valid hash chain; chains with different labels differ from block 1 on."""
    blocks, previous = [], b""
    for number in range(height):
        data = [transaction(number, index + label) for index in range(3)] if number else [genesis()]
        header = BlockHeader(number=number, previous_hash=previous, data_hash=data_hash(data))
        previous = block_hash(number, previous, header.data_hash)
        metadata = BlockMetadata(metadata=[b"", b"", bytes((0, 11, 0))[: len(data)], b"", b""])
        blocks.append(
            Block(header=header, data=BlockData(data=data), metadata=metadata).SerializeToString()
        )
    return blocks


BLOCKS = chain(HEIGHT)


def signature(pair: KeyPair, message: bytes, *, low_s: bool = True) -> bytes:
    key = load_pem_private_key(pair.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA256())))
    is_low = s <= P256_ORDER // 2
    return encode_dss_signature(r, s if is_low == low_s else P256_ORDER - s)


@dataclass(frozen=True)
class Seek:
    """A signed request, each part of which a test can replace by a wrong value."""

    start: SeekPosition | None = field(default_factory=lambda: OLDEST)
    stop: SeekPosition | None = field(default_factory=lambda: NEWEST)
    behavior: SeekInfo.SeekBehavior.ValueType = SeekInfo.BLOCK_UNTIL_READY
    channel: str = CHANNEL
    mspid: str = "Org1MSP"
    member: KeyPair = MEMBER
    age: float | None = 0.0
    tls_certificate: bytes | None = CLIENT_TLS.certificate
    low_s: bool = True
    damage: Callable[[Envelope], None] = lambda _: None

    def envelope(self) -> bytes:
        header = ChannelHeader(type=DELIVER_SEEK_INFO, channel_id=self.channel)
        if self.age is not None:
            header.timestamp.CopyFrom(Timestamp(seconds=int(time.time() - self.age)))
        if self.tls_certificate is not None:
            header.tls_cert_hash = sha256(
                PEM_cert_to_DER_cert(self.tls_certificate.decode())
            ).digest()
        creator = SerializedIdentity(mspid=self.mspid, id_bytes=self.member.certificate)
        signer = SignatureHeader(creator=creator.SerializeToString(), nonce=os.urandom(24))
        info = SeekInfo(start=self.start, stop=self.stop, behavior=self.behavior)
        payload = Payload(
            header=Header(
                channel_header=header.SerializeToString(),
                signature_header=signer.SerializeToString(),
            ),
            data=info.SerializeToString(),
        ).SerializeToString()
        sealed = Envelope(
            payload=payload, signature=signature(self.member, payload, low_s=self.low_s)
        )
        self.damage(sealed)
        return sealed.SerializeToString()


Call = grpc.aio.StreamStreamCall[bytes, bytes]


@asynccontextmanager
async def stream(
    peer: Peer, *requests: Seek | bytes, tls: bool = True, method: str = "Deliver"
) -> AsyncIterator[Call]:
    """Open a stream with mutual TLS and send the requests in their order."""
    credentials = grpc.ssl_channel_credentials(
        TLS_AUTHORITY.certificate, CLIENT_TLS.key, CLIENT_TLS.certificate
    )
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    channel = (
        grpc.aio.secure_channel(peer.address, credentials, options=options)
        if tls
        else grpc.aio.insecure_channel(peer.address, options=options)
    )
    async with channel:
        call: Call = channel.stream_stream(f"/protos.Deliver/{method}")()
        for request in requests:
            await call.write(request if isinstance(request, bytes) else request.envelope())
        yield call


async def read(call: Call) -> DeliverResponse:
    response = await asyncio.wait_for(call.read(), LIMIT_S)
    assert isinstance(response, bytes), "the peer has ended the stream"
    return DeliverResponse.FromString(response)


async def request(
    peer: Peer, *requests: Seek | bytes, tls: bool = True, method: str = "Deliver"
) -> list[DeliverResponse]:
    """Return all responses to the requests, until the peer ends the stream."""
    async with stream(peer, *requests, tls=tls, method=method) as call:
        await call.done_writing()
        async with asyncio.timeout(LIMIT_S):
            return [DeliverResponse.FromString(response) async for response in call]


def outline(responses: list[DeliverResponse]) -> list[str | int]:
    """Return the block numbers as integers and the statuses as text."""
    return [
        response.block.header.number
        if response.WhichOneof("Type") == "block"
        else str(response.status)
        for response in responses
    ]
