"""Actions: the chaincode calls of an endorser transaction, and their results."""

from typing import Any

from msgspec import Struct

from explorer_api.schemas.identities import Identity, read_identity
from explorer_api.schemas.read_write_sets import ReadWriteSet, read_read_write_set
from explorer_api.schemas.stored_values import (
    Encoding,
    Omitted,
    Text,
    Value,
    read_list,
    read_optional_text,
    read_payload,
    read_text,
    read_value,
)
from ledger.documents.format import Document


class Response(Struct, frozen=True):
    """The response of a chaincode to a call."""

    status: int
    message: Text
    payload: Text | None
    encoding: Encoding | None


class ActionEvent(Struct, frozen=True):
    """The event that a chaincode set, whether or not the transaction is VALID."""

    chaincode: Text
    name: Text
    payload: Any
    encoding: Encoding


class Action(Struct, frozen=True, rename="camel"):
    """A further action of an endorser transaction, after its first one."""

    chaincode: Text | None
    chaincode_version: Text | None
    function: Text | None
    function_encoding: Encoding | None
    args: list[Value] | Omitted
    is_init: bool
    endorsers: list[Identity | None] | Omitted
    response: Response | None
    rwsets: list[ReadWriteSet] | Omitted
    event: ActionEvent | None


def read_action(stored: Document) -> Action:
    """Return a stored action."""
    return Action(**action_fields(stored, stored.get("event")))


def action_fields(stored: Document, event: Document | None) -> dict[str, Any]:
    """Return the fields of an `Action`, from an action or a transaction document and its event."""
    function = read_value(stored.get("function"))
    response = stored.get("response")
    return {
        "chaincode": read_optional_text(stored.get("chaincodeId")),
        "chaincode_version": read_optional_text(stored.get("chaincodeVersion")),
        "function": function.value,
        "function_encoding": function.encoding,
        "args": read_list(stored.get("args"), read_value),
        "is_init": stored.get("isInit", False),
        "endorsers": read_list(stored.get("endorsers"), _read_endorser),
        "response": _read_response(response) if response is not None else None,
        "rwsets": read_list(stored.get("rwsets"), read_read_write_set),
        "event": _read_event(event) if event is not None else None,
    }


def _read_endorser(stored: Document | None) -> Identity | None:
    return read_identity(stored) if stored is not None else None


def _read_response(stored: Document) -> Response:
    payload = read_value(stored["payload"])
    return Response(stored["status"], read_text(stored["message"]), payload.value, payload.encoding)


def _read_event(stored: Document) -> ActionEvent:
    return ActionEvent(
        read_text(stored["chaincodeId"]), read_text(stored["eventName"]), *read_payload(stored)
    )
