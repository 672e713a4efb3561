"""Makes bundles a second time, from docs/evidence/README.md alone: no code of `ledger` is used."""

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from protos import chaincode_pb2, common_pb2, kvrwset_pb2, msp_pb2, rwset_pb2, transaction_pb2

README = Path(__file__).parents[2] / "docs" / "evidence" / "README.md"

Key = tuple[str, str, bytes]
Write = tuple[str, str, bytes, bytes | bool | None]


def documented_checks() -> list[str]:
    """Return the texts of the numbered list in the documentation."""
    items = re.findall(r"^\d+\. (.+(?:\n   .+)*)", README.read_text(), re.MULTILINE)
    return [" ".join(item.split()) for item in items]


def second_bundle(blocks: Sequence[bytes], number: int, index: int) -> bytes:
    """Return the bundle of a transaction; `blocks` begins with the genesis block."""
    parsed = [common_pb2.Block.FromString(raw) for raw in blocks[: number + 1]]
    configs = [n for n, block in enumerate(parsed[:-1]) if _last_config(block) == n]
    previous, earlier = _commit_hash_parts(parsed)
    bundle = {
        "format": "kindledger-evidence",
        "version": 1,
        "channel": _header(parsed[0].data.data[0]).channel_id,
        "statement": _statement(parsed[-1], index),
        "configBlocks": [b64encode(blocks[n]).decode() for n in configs],
        "block": b64encode(blocks[number]).decode(),
        "previousCommitHash": previous.hex() if previous is not None else None,
        "earlierValues": earlier,
        "checks": documented_checks(),
    }
    return (json.dumps(bundle, indent=1) + "\n").encode()


def _statement(block: common_pb2.Block, index: int) -> dict[str, Any]:
    envelope = block.data.data[index]
    code = block.metadata.metadata[2][index]
    header = _header(envelope)
    payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(envelope).payload)
    signed = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
    is_config, is_trusted = header.type == 1, block.header.number == 0
    action = transaction_pb2.ChaincodeActionPayload()
    if not is_config:
        transaction = transaction_pb2.Transaction.FromString(payload.data)
        action.ParseFromString(transaction.actions[0].payload)
    result = _result(action)
    arguments = [_shown(each) for each in _arguments(action)]
    event = chaincode_pb2.ChaincodeEvent.FromString(result.events)
    return {
        "txId": header.tx_id,
        "block": block.header.number,
        "index": index,
        "blockHash": _block_hash(block.header).hex(),
        "code": code,
        "status": transaction_pb2.TxValidationCode.DESCRIPTOR.values_by_number[code].name,
        "type": "CONFIG" if is_config else "ENDORSER_TRANSACTION",
        "creator": None if is_trusted else _identity(signed.creator),
        "endorsers": [_identity(each.endorser) for each in action.action.endorsements],
        "chaincode": None if is_config else result.chaincode_id.name,
        "function": arguments[0] if arguments else None,
        "arguments": arguments[1:],
        "writes": [
            {"namespace": space, "collection": part, "key": _shown(key), "value": _value(value)}
            for space, part, key, value in _writes(result)
        ],
        "event": {"name": event.event_name, "payload": _shown(event.payload)}
        if result.events
        else None,
    }


def _writes(result: transaction_pb2.ChaincodeAction) -> Iterator[Write]:
    for space in rwset_pb2.TxReadWriteSet.FromString(result.results).ns_rwset:
        public = kvrwset_pb2.KVRWSet.FromString(space.rwset)
        for write in public.writes:
            deleted = write.is_delete or not write.value
            yield space.namespace, "", write.key.encode(), None if deleted else write.value
        for metadata in public.metadata_writes:
            yield space.namespace, "", metadata.key.encode(), True
        for part in space.collection_hashed_rwset:
            hashed = kvrwset_pb2.HashedRWSet.FromString(part.hashed_rwset)
            key = space.namespace, part.collection_name
            for each in hashed.hashed_writes:
                deleted = each.is_delete or not each.value_hash
                yield *key, each.key_hash, None if deleted else each.value_hash
            for other in hashed.metadata_writes:
                yield *key, other.key_hash, True


def _commit_hash_parts(
    blocks: Sequence[common_pb2.Block],
) -> tuple[bytes | None, list[list[str | None]]]:
    number = len(blocks) - 1
    if number == 0:
        return None, []
    previous = common_pb2.Metadata.FromString(blocks[-2].metadata.metadata[4]).value
    state: dict[Key, Any] = {}
    for block in blocks[:-1]:
        for *key, value in _valid_writes(block):
            if value is not True:
                state[*key,] = value  # type: ignore[index]  # the key has three parts
    written: dict[Key, Any] = {}
    for *key, value in _valid_writes(blocks[-1]):
        if value is not True or (*key,) not in written:
            written[*key,] = value  # type: ignore[index]
    needed = sorted(key for key, value in written.items() if value is True)
    return previous, [
        [space, part, b64encode(key).decode(), _base64(state.get((space, part, key)))]
        for space, part, key in needed
    ]


def _valid_writes(block: common_pb2.Block) -> Iterator[Write]:
    for envelope, code in zip(block.data.data, block.metadata.metadata[2], strict=True):
        if code == 0 and _type(envelope) == 3:
            payload = common_pb2.Payload.FromString(
                common_pb2.Envelope.FromString(envelope).payload
            )
            transaction = transaction_pb2.Transaction.FromString(payload.data)
            action = transaction_pb2.ChaincodeActionPayload.FromString(
                transaction.actions[0].payload
            )
            yield from _writes(_result(action))


def _last_config(block: common_pb2.Block) -> int:
    entry = common_pb2.Metadata.FromString(block.metadata.metadata[1])
    return common_pb2.LastConfig.FromString(entry.value).index


def _type(envelope: bytes) -> int:
    return _header(envelope).type


def _header(envelope: bytes) -> common_pb2.ChannelHeader:
    payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(envelope).payload)
    return common_pb2.ChannelHeader.FromString(payload.header.channel_header)


def _result(action: transaction_pb2.ChaincodeActionPayload) -> transaction_pb2.ChaincodeAction:
    response = transaction_pb2.ProposalResponsePayload.FromString(
        action.action.proposal_response_payload
    )
    return transaction_pb2.ChaincodeAction.FromString(response.extension)


def _arguments(action: transaction_pb2.ChaincodeActionPayload) -> Sequence[bytes]:
    proposal = transaction_pb2.ChaincodeProposalPayload.FromString(
        action.chaincode_proposal_payload
    )
    return chaincode_pb2.ChaincodeInvocationSpec.FromString(
        proposal.input
    ).chaincode_spec.input.args


def _identity(serialized: bytes) -> dict[str, str]:
    identity = msp_pb2.SerializedIdentity.FromString(serialized)
    certificate = x509.load_pem_x509_certificate(identity.id_bytes)
    return {
        "mspId": identity.mspid,
        "subject": certificate.subject.rfc4514_string(),
        "fingerprint": certificate.fingerprint(SHA256()).hex(),
    }


def _block_hash(header: common_pb2.BlockHeader) -> bytes:
    digits = header.number.to_bytes(header.number.bit_length() // 8 + 1, "big")
    parts = [(2, digits), (4, header.previous_hash), (4, header.data_hash)]
    der = b"".join(bytes((tag, len(part))) + part for tag, part in parts)
    return sha256(bytes((0x30, len(der))) + der).digest()


def _shown(data: bytes) -> Any:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"hex": data.hex()}


def _value(value: bytes | bool | None) -> Any:
    return _shown(value) if isinstance(value, bytes) else value


def _base64(value: bytes | None) -> str | None:
    return b64encode(value).decode() if value is not None else None
