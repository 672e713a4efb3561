"""The document of a transaction, which depends only on its envelope, code and position.

Other applications query these documents; `docs/data-model.md` describes each field.
"""

from typing import Final

import msgspec
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from msgspec import Struct

from ledger.documents.code_names import status_name, type_name
from ledger.documents.events import event_fields
from ledger.documents.format import FORMAT, Document, milliseconds
from ledger.documents.identities import identity_document
from ledger.documents.payloads import int_value, text_or_binary
from ledger.documents.read_write_sets import read_write_set_document
from ledger.model import VALID, Action, ChannelConfig, Transaction

MANY_WRITES: Final = 20_000
"""The number of writes above which a transaction is marked with `manyWrites`.

MongoDB must hold all index entries of a document in its cache at the same time.
"""


def transaction_document(
    transaction: Transaction, number: int, position: Int64, *, owns_id: bool
) -> Document:
    """Return the document of the envelope at `position`, in block `number`.

    If the envelope owns its id, `txId` is this id. Otherwise `txId` is the position, which no id
    can equal, and `claimedTxId` is the id that the envelope claims.
    """
    ms = milliseconds(transaction.timestamp)
    timestamp = transaction.timestamp
    document: Document = {
        "_id": position,
        "txId": transaction.tx_id if owns_id else position,
        "status": status_name(transaction.code),
        "validationCode": transaction.code,
        "chaincodeId": transaction.chaincode_id,
        "blockNumber": number,
        "txIndex": transaction.index,
        "type": type_name(transaction.type),
        "ts": DatetimeMS(ms) if ms is not None else None,
        "timestamp": {"seconds": timestamp.seconds, "nanos": timestamp.nanos}
        if timestamp is not None
        else None,
        "creator": identity_document(transaction.creator)
        if transaction.creator is not None
        else None,
    }
    if not owns_id:
        document["claimedTxId"] = transaction.tx_id
    if transaction.actions:
        document |= _actions(transaction)
    if transaction.lifecycle is not None:
        document["lifecycle"] = _builtins(transaction.lifecycle)
    if transaction.config is not None:
        document["config"] = _config(transaction.config)
    if transaction.errors:
        document["errors"] = list(transaction.errors)
    document["envelopeHash"] = transaction.envelope_hash.hex()
    document["envelopeSize"] = transaction.envelope_size
    document["format"] = FORMAT
    return document


def _actions(transaction: Transaction) -> Document:
    """Return the fields of the actions; the first action's fields are the transaction's fields."""
    first = transaction.actions[0]
    document = _action(first)
    if sum([len(rwset.writes) for rwset in first.rwsets]) > MANY_WRITES:
        document["manyWrites"] = True
    if first.event is not None and transaction.code != VALID:
        document["event"] = event_fields(first)
    if len(transaction.actions) > 1:
        document["furtherActions"] = [_further_action(a) for a in transaction.actions[1:]]
    return document


def _further_action(action: Action) -> Document:
    document = {
        "chaincodeId": action.chaincode.name if action.chaincode is not None else None,
        **_action(action),
    }
    if action.event is not None:
        document["event"] = event_fields(action)
    return document


def _config(config: ChannelConfig) -> Document:
    document = _builtins(config)
    document["sequence"] = int_value(config.sequence)
    return document


def _builtins(struct: Struct) -> Document:
    """Return the fields of a Struct; tuples become lists, which `size_limit` can omit."""
    document: Document = msgspec.json.decode(msgspec.json.encode(struct))
    return document


def _action(action: Action) -> Document:
    arguments = [text_or_binary(argument) for argument in action.args]
    document: Document = {
        "chaincodeVersion": action.chaincode.version if action.chaincode is not None else None,
        "endorsers": [
            identity_document(endorser) if endorser is not None else None
            for endorser in action.endorsers
        ],
        "function": arguments[0] if arguments else None,
        "args": arguments[1:],
        "response": None,
        "rwsets": [read_write_set_document(rwset) for rwset in action.rwsets],
    }
    if action.is_init:
        document["isInit"] = True
    response = action.response
    if response is not None:
        document["response"] = {
            "status": response.status,
            "message": response.message,
            "payload": text_or_binary(response.payload),
        }
    return document
