"""The signers of blocks as Fabric's own messages name them, and the stored inventory."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pymongo.asynchronous.database import AsyncDatabase

from indexer.envelopes.verifier import EnvelopeVerifier
from ledger.decoding.blocks import read_block
from ledger.documents.format import Document
from ledger.mongodb.certificates import (
    INVENTORY,
    CertificateStore,
    Inventory,
    SeenCertificates,
)
from ledger.mongodb.collections import CERTIFICATES
from ledger.mongodb.store import LedgerStore
from protos import common_pb2 as common
from protos.configuration_pb2 import ConfigEnvelope, Orderers
from protos.msp_pb2 import SerializedIdentity
from protos.transaction_pb2 import (
    ENDORSEMENT_POLICY_FAILURE,
    MVCC_READ_CONFLICT,
    PHANTOM_READ_CONFLICT,
    VALID,
    ChaincodeActionPayload,
    Transaction,
)

SIGNED_CODES = {VALID, MVCC_READ_CONFLICT, PHANTOM_READ_CONFLICT, ENDORSEMENT_POLICY_FAILURE}
"""The codes of envelopes whose creator and endorsers signed what they contain."""

Json = dict[str, Any]


def fingerprint(pem: bytes) -> str:
    certificate = x509.load_pem_x509_certificate(pem)
    return sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def signers_in(blocks: Sequence[bytes]) -> dict[str, Json]:
    """Return the uses of each certificate in a chain, by its fingerprint."""
    found: dict[str, Json] = {}
    config = common.Block()
    for data in blocks:
        block = common.Block.FromString(data)
        number = block.header.number
        for identity in _orderers(block, config):
            _add(found, identity, "orderer", number, None)
        codes = block.metadata.metadata[common.TRANSACTIONS_FILTER]
        for index, (envelope, code) in enumerate(zip(block.data.data, codes, strict=True)):
            if number and code in SIGNED_CODES:
                for role, identity in _signers(envelope):
                    _add(found, identity, role, number, number << 20 | index)
        if _header(block.data.data[0]).type == common.CONFIG:
            config = block
    return found


def _add(
    found: dict[str, Json], identity: bytes, role: str, number: int, position: int | None
) -> None:
    claimed = SerializedIdentity.FromString(identity)
    uses = found.setdefault(
        fingerprint(claimed.id_bytes),
        {"mspId": claimed.mspid, "roles": set(), "firstBlock": number},
    )
    uses["roles"].add(role)
    uses["lastBlock"] = number
    if position is not None:
        uses.setdefault("firstTransaction", position)
        uses["lastTransaction"] = position


def _payload(envelope: bytes) -> common.Payload:
    return common.Payload.FromString(common.Envelope.FromString(envelope).payload)


def _header(envelope: bytes) -> common.ChannelHeader:
    return common.ChannelHeader.FromString(_payload(envelope).header.channel_header)


def _signers(envelope: bytes) -> Iterator[tuple[str, bytes]]:
    payload = _payload(envelope)
    yield "creator", common.SignatureHeader.FromString(payload.header.signature_header).creator
    if _header(envelope).type == common.ENDORSER_TRANSACTION:
        (action,) = Transaction.FromString(payload.data).actions
        content = ChaincodeActionPayload.FromString(action.payload)
        for endorsement in content.action.endorsements:
            yield "endorser", endorsement.endorser


def _orderers(block: common.Block, config: common.Block) -> Iterator[bytes]:
    """Yield the identities that signed a block; SmartBFT's are in the configuration."""
    metadata = common.Metadata.FromString(block.metadata.metadata[common.SIGNATURES])
    for signature in metadata.signatures:
        if signature.signature_header:
            yield common.SignatureHeader.FromString(signature.signature_header).creator
            continue
        envelope = ConfigEnvelope.FromString(_payload(config.data.data[0]).data)
        values = envelope.config.channel_group.groups["Orderer"].values
        header = common.IdentifierHeader.FromString(signature.identifier_header)
        for consenter in Orderers.FromString(values["Orderers"].value).consenter_mapping:
            if consenter.id == header.identifier:
                identity = SerializedIdentity(mspid=consenter.msp_id, id_bytes=consenter.identity)
                yield identity.SerializeToString()


async def make_inventory(
    database: AsyncDatabase[Document],
    blocks: Iterable[bytes],
) -> None:
    """Store the inventory of a chain, as the daemon does."""
    verifier, store = EnvelopeVerifier(complete=True), CertificateStore(database)
    seen, config, inventory = SeenCertificates(), 0, Inventory(0, "")
    await store.prepare(0)
    for block in map(read_block, blocks):
        verified = verifier.verify(block)
        seen.add(block.number, verified.uses, config)
        inventory = Inventory(block.number + 1, block.hash.hex())
        if verified.changed_msps:
            await store.add(seen)
            seen.clear()
        config = block.number if verified.configures else config
        async for members in store.unjudged(verified.changed_msps, config):
            judgements = verifier.judge([each.member for each in members])
            await store.record_judgements(list(zip(members, judgements, strict=True)), config)
    await store.add(seen)
    await store.extend(0, inventory)


async def stored_certificates(store: LedgerStore) -> list[Json]:
    """Return all certificates of the inventory, by fingerprint."""
    query = {"_id": {"$ne": INVENTORY}}
    documents = await store.database[CERTIFICATES].find(query).sort("_id").to_list()
    return [{**each, "roles": set(each["roles"])} for each in documents]


def uses_of(documents: Iterable[Json]) -> dict[str, Json]:
    """Return what documents of the inventory say about uses, as `signers_in` does."""
    fields = ("mspId", "roles", "firstBlock", "lastBlock", "firstTransaction", "lastTransaction")
    return {
        each["_id"]: {name: each[name] for name in fields if name in each} for each in documents
    }
