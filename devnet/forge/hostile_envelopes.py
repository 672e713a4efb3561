"""Hostile envelopes, which Fabric commits although no reader expects them: broken or malicious.

A builder returns the bytes of an envelope and the validation code that a peer would set. The codes
follow `core/common/validation` and `core/committer/txvalidator` in Fabric 2.5.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from devnet import wire_format
from devnet.forge import hostile_builders
from devnet.forge.envelopes import Level
from devnet.forge.hostile_builders import Builder, HostileEnvelope
from devnet.forge.hostile_values import (
    EVENT_NAMES,
    EVENT_PAYLOADS,
    KEYS,
    NOT_UTF8,
    RESULTS,
    TIMESTAMPS,
    TX_IDS,
)
from protos.common_pb2 import (
    CHAINCODE_PACKAGE,
    CONFIG,
    CONFIG_UPDATE,
    DELIVER_SEEK_INFO,
    MESSAGE,
    ORDERER_TRANSACTION,
)
from protos.transaction_pb2 import (
    BAD_COMMON_HEADER,
    BAD_HEADER_EXTENSION,
    BAD_PAYLOAD,
    BAD_RESPONSE_PAYLOAD,
    INVALID_CONFIG_TRANSACTION,
    INVALID_ENDORSER_TRANSACTION,
    INVALID_OTHER_REASON,
    NOT_VALIDATED,
    UNSUPPORTED_TX_PAYLOAD,
    VALID,
)

UNPARSABLE_LEVELS: Mapping[Level, int] = {
    "payload": BAD_PAYLOAD,
    "channel_header": BAD_COMMON_HEADER,
    "channel_header_extension": BAD_HEADER_EXTENSION,
    "signature_header": BAD_COMMON_HEADER,
    "transaction": INVALID_ENDORSER_TRANSACTION,
    "action_payload": INVALID_ENDORSER_TRANSACTION,
    "proposal_response_payload": INVALID_ENDORSER_TRANSACTION,
    "chaincode_action": BAD_RESPONSE_PAYLOAD,
    "event": INVALID_OTHER_REASON,
    # A peer hashes the proposal of the client, but does not parse it.
    "proposal_payload": VALID,
    "invocation": VALID,
}
"""The validation code of an envelope in which the message of a level cannot be parsed."""

HEADER_TYPES: Mapping[int, int] = {
    MESSAGE: BAD_COMMON_HEADER,
    CONFIG: INVALID_CONFIG_TRANSACTION,
    CONFIG_UPDATE: UNSUPPORTED_TX_PAYLOAD,
    ORDERER_TRANSACTION: BAD_COMMON_HEADER,
    DELIVER_SEEK_INFO: BAD_COMMON_HEADER,
    CHAINCODE_PACKAGE: BAD_COMMON_HEADER,
    99: BAD_COMMON_HEADER,
    -1: BAD_COMMON_HEADER,
}
"""The validation code of an envelope with a header type."""

UNUSUAL_CODES = (77, 200, NOT_VALIDATED)
"""Two codes that Fabric does not define, and a code that no committed block contains."""


_Family = tuple[str, Callable[..., HostileEnvelope], Mapping[str, tuple[object, ...]]]
"""The name of a family, its builder, and the arguments of the builder for each member."""


def envelope_builders() -> dict[str, Builder]:
    """Return every builder by its name, except the builder of the oversized transaction."""
    builders = _single_builders()
    for family, build, arguments_by_name in _builder_families():
        for name, arguments in arguments_by_name.items():
            builders[f"{family}_{name}"] = partial(build, *arguments)
    return builders


def _single_builders() -> dict[str, Builder]:
    return {
        "envelope_empty": lambda _: HostileEnvelope(b"", BAD_COMMON_HEADER),
        "envelope_unparsable": lambda _: HostileEnvelope(
            wire_format.UNPARSABLE, INVALID_OTHER_REASON
        ),
        "envelope_unknown_field": hostile_builders.with_unknown_field,
        "channel_other": hostile_builders.for_another_channel,
        "creator_signature_false": hostile_builders.with_false_signature,
        "creator_certificate_garbage": partial(
            hostile_builders.with_creator_certificate, b"-----BEGIN CERTIFICATE-----\ngarbage"
        ),
        "creator_certificate_binary": partial(hostile_builders.with_creator_certificate, NOT_UTF8),
        "creator_unparsable": hostile_builders.with_unparsable_creator,
        "creator_idemix": hostile_builders.with_idemix_creator,
        "endorsers_none": hostile_builders.without_endorsements,
        "actions_0": partial(hostile_builders.with_actions, 0),
        "actions_3": partial(hostile_builders.with_actions, 3),
        "arguments_none": partial(hostile_builders.with_arguments, ()),
        "arguments_binary": partial(hostile_builders.with_arguments, (NOT_UTF8, b"", b"\0")),
        "response_binary": hostile_builders.with_binary_response,
        "event_of_another_transaction": hostile_builders.with_event_of_another_transaction,
        "tx_id_of_another_transaction": hostile_builders.with_id_of_another_transaction,
    }


def _builder_families() -> Sequence[_Family]:
    return (
        (
            "unparsable",
            hostile_builders.with_unparsable_level,
            {level: (level, code) for level, code in UNPARSABLE_LEVELS.items()},
        ),
        (
            "type",
            hostile_builders.with_header_type,
            {str(number): (number, code) for number, code in HEADER_TYPES.items()},
        ),
        ("code", hostile_builders.with_code, {str(code): (code,) for code in UNUSUAL_CODES}),
        (
            "results",
            hostile_builders.with_results,
            {name: (value,) for name, value in RESULTS.items()},
        ),
        ("tx_id", hostile_builders.with_tx_id, {name: (value,) for name, value in TX_IDS.items()}),
        (
            "timestamp",
            hostile_builders.with_timestamp,
            {name: (value,) for name, value in TIMESTAMPS.items()},
        ),
        ("key", hostile_builders.with_key, {name: (value,) for name, value in KEYS.items()}),
        (
            "event_name",
            hostile_builders.with_event,
            {name: (value, b"{}") for name, value in EVENT_NAMES.items()},
        ),
        (
            "event_payload",
            hostile_builders.with_event,
            {name: ("Hostile", value) for name, value in EVENT_PAYLOADS.items()},
        ),
    )
