"""The statement of a bundle: what an envelope says, for people, as values of JSON."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

from ledger.decoding.blocks import UndecodedBlock
from ledger.decoding.transactions import decode_transaction
from ledger.documents.code_names import status_name, type_name
from ledger.model import Action, ReadWriteSet
from ledger.trust.verdicts import RefusedError
from protos.common_pb2 import CONFIG, ENDORSER_TRANSACTION

Statement: TypeAlias = dict[str, Any]
"""The facts by name, in a fixed order; docs/evidence/README.md describes each."""


_NO_ACTION: Final[Statement] = {
    "chaincode": None,
    "function": None,
    "arguments": [],
    "writes": [],
    "event": None,
}

_METADATA: Final = True
"""The value in a write of a key's metadata; the value of a deletion is null."""


class Person(Struct, frozen=True):
    """A verified signer: the id of the MSP, and the certificate's subject and fingerprint."""

    msp_id: str
    subject: str
    fingerprint: str

    def fact(self) -> Statement:
        """Return the signer as the statement names it."""
        return {"mspId": self.msp_id, "subject": self.subject, "fingerprint": self.fingerprint}


def make_statement(block: UndecodedBlock, index: int, signers: Sequence[Person]) -> Statement:
    """Return the statement about the envelope at an index of a block.

    `signers` are its creator and its endorsers, in this order; none if nobody's signature was
    verified. Raises `RefusedError` if the envelope cannot be decoded wholly.
    """
    transaction = decode_transaction(block.envelopes[index], index, block.codes[index])
    if transaction.errors:
        raise RefusedError(f"it cannot be decoded: {', '.join(transaction.errors)}")
    if transaction.type not in (CONFIG, ENDORSER_TRANSACTION):
        raise RefusedError(f"its type is {type_name(transaction.type)}")
    if len(transaction.actions) != (transaction.type == ENDORSER_TRANSACTION):
        raise RefusedError(f"it has {len(transaction.actions)} actions instead of one")
    facts = [signer.fact() for signer in signers]
    return {
        "txId": transaction.tx_id,
        "block": block.number,
        "index": index,
        "blockHash": block.hash.hex(),
        "code": transaction.code,
        "status": status_name(transaction.code),
        "type": type_name(transaction.type),
        "creator": facts[0] if facts else None,
        "endorsers": facts[1:],
        **_action_facts(transaction.actions[0] if transaction.actions else None),
    }


def shown(data: bytes) -> str | Statement:
    """Return bytes as the statement shows them: UTF-8 as text, other bytes in hex."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"hex": data.hex()}


def _action_facts(action: Action | None) -> Statement:
    """Return the facts about the only action of a transaction; a CONFIG transaction has none."""
    if action is None:
        return _NO_ACTION
    arguments = [shown(argument) for argument in action.args]
    event = action.event
    return {
        "chaincode": action.chaincode.name or None if action.chaincode is not None else None,
        "function": arguments[0] if arguments else None,
        "arguments": arguments[1:],
        "writes": [write for rwset in action.rwsets for write in _writes(rwset)],
        "event": None if event is None else {"name": event.name, "payload": shown(event.payload)},
    }


def _writes(rwset: ReadWriteSet) -> Iterator[Statement]:
    for write in rwset.writes:
        value = None if write.is_delete else write.value
        yield _write(rwset.namespace, "", write.key.encode(), value)
    for metadata in rwset.metadata_writes:
        yield _write(rwset.namespace, "", _bytes(metadata.key), _METADATA)
    for hashes in rwset.collections:
        if not hashes.collection:
            raise RefusedError("it writes to a collection without a name")
        for hashed in hashes.writes:
            value = None if hashed.is_delete else hashed.value_hash
            yield _write(rwset.namespace, hashes.collection, hashed.key_hash, value)
        for metadata in hashes.metadata_writes:
            yield _write(rwset.namespace, hashes.collection, _bytes(metadata.key), _METADATA)


def _write(
    namespace: str, collection: str, key: bytes, value: bytes | Literal[True] | None
) -> Statement:
    """Return a write of a key, or of its hash in a collection, as the statement shows it."""
    return {
        "namespace": namespace,
        "collection": collection,
        "key": shown(key),
        "value": shown(value) if isinstance(value, bytes) and value else value or None,
    }


def _bytes(key: str | bytes) -> bytes:
    return key.encode() if isinstance(key, str) else key
