"""Messages and blocks made field by field, with content that no honest client sends."""

from collections.abc import Sequence
from hashlib import sha256

from tests.ledger.wire_format import field

CONFIG, ENDORSER_TRANSACTION = 1, 3
_INVALID = 255


def block(
    envelopes: Sequence[bytes], codes: bytes | None = None, metadata: Sequence[bytes] = (b"",) * 4
) -> bytes:
    """Return a serialized block 5 with correct hashes.

    Without `codes`, all envelopes are invalid. `metadata` has the entries of the block's metadata
    except the validation codes.
    """
    codes = bytes([_INVALID]) * len(envelopes) if codes is None else codes
    data_hash = sha256(b"".join(envelopes)).digest()
    entries = [*metadata[:2], codes, *metadata[2:]]
    return (
        field(1, field(1, 5) + field(2, b"\1" * 32) + field(3, data_hash))
        + field(2, b"".join(field(1, envelope) for envelope in envelopes))
        + field(3, b"".join(field(1, entry) for entry in entries))
    )


def envelope(
    data: bytes,
    header_type: int = ENDORSER_TRANSACTION,
    *,
    tx_id: str = "id",
    timestamp: bytes | None = None,
    extension: bytes = b"",
    creator: bytes = b"",
) -> bytes:
    """Return a serialized envelope with this `Payload.data`."""
    channel_header = (
        field(1, header_type)
        + field(4, b"channel")
        + field(5, tx_id.encode())
        + field(7, extension)
    )
    if timestamp is not None:
        channel_header += field(3, timestamp)
    return field(
        1, field(1, field(1, channel_header) + field(2, field(1, creator))) + field(2, data)
    )


def config(channel_group: bytes, sequence: int = 0) -> bytes:
    """Return the `Payload.data` of a CONFIG envelope."""
    return field(1, field(1, sequence) + field(2, channel_group))


def action(
    *,
    args: bytes = b"",
    results: bytes = b"",
    event: bytes = b"",
    result_fields: bytes = b"",
    endorsements: bytes = b"",
) -> bytes:
    """Return a serialized `Transaction` with one action.

    Several of these, concatenated, are a transaction with several actions. `args` has fields of the
    action's ChaincodeInput, `result_fields` has additional fields of its ChaincodeAction.
    """
    result = (
        (field(1, results) if results else b"")
        + (field(2, event) if event else b"")
        + result_fields
    )
    proposal = field(1, field(1, field(3, args)))
    endorsed = field(1, field(2, result)) + endorsements
    return field(1, field(2, field(1, proposal) + field(2, endorsed)))


def namespace(kv_rwset: bytes = b"", collections: bytes = b"", name: bytes = b"ns") -> bytes:
    """Return `ChaincodeAction.results` with a read/write set of a namespace."""
    return field(2, field(1, name) + field(2, kv_rwset) + collections)


def event(payload: bytes, name: str = "Event") -> bytes:
    """Return a serialized ChaincodeEvent."""
    return field(1, b"cc") + field(2, b"other id") + field(3, name.encode()) + field(4, payload)


def group_child(name: str, group: bytes) -> bytes:
    """Return a group as a field of a ConfigGroup."""
    return field(2, field(1, name.encode()) + field(2, group))


def group_value(name: str, value: bytes) -> bytes:
    """Return a value as a field of a ConfigGroup."""
    return field(3, field(1, name.encode()) + field(2, field(2, value)))


def group_policy(name: str, policy_type: int, policy: bytes) -> bytes:
    """Return a policy as a field of a ConfigGroup."""
    return field(
        4, field(1, name.encode()) + field(2, field(2, field(1, policy_type) + field(2, policy)))
    )
