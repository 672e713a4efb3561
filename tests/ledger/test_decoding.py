"""Forged transactions with parts that the recorded ledgers lack, as they are decoded."""

from hashlib import sha256

import pytest

from ledger.decoding.blocks import decode_block, read_block
from ledger.model import (
    Chaincode,
    CollectionHashes,
    HashedRead,
    HashedWrite,
    MerkleSummary,
    MetadataEntry,
    MetadataWrite,
    RangeQuery,
    Read,
    Response,
    Timestamp,
    Version,
    Write,
)
from ledger.position import pack_position
from tests.ledger import forging
from tests.ledger.forging import CONFIG, action, config, envelope, group_child, group_value
from tests.ledger.invariants import check_block, checked_transaction, decoded
from tests.ledger.model_from_documents import milliseconds_of
from tests.ledger.wire_format import field

_INT64_MIN, _INT64_MAX, _UINT64_MAX = -(2**63), 2**63 - 1, 2**64 - 1


def test_reads_and_writes_of_every_kind_are_decoded() -> None:
    key_metadata = field(1, b"VALIDATION_PARAMETER") + field(2, b"\xff")
    kv = (
        field(1, field(1, b"absent"))
        + field(1, field(1, b"\0composite\0key") + field(2, field(1, _UINT64_MAX) + field(2, 1)))
        + field(
            2,
            field(1, b"a")
            + field(2, b"b")
            + field(5, field(1, 50) + field(2, 3) + field(3, b"\1\2")),
        )
        + field(2, field(1, b"c") + field(3, 1) + field(4, field(1, field(1, b"d"))))
        + field(2, field(1, b"e"))
        + field(3, field(1, b"k") + field(3, b"\xff\0"))
        + field(3, field(1, b"gone") + field(2, 1))
        + field(3, field(1, b"deleted") + field(2, 1) + field(3, b"value of a delete"))
        + field(4, field(1, b"k") + field(2, key_metadata))
    )
    hashed = (
        field(1, field(1, b"\1") + field(2, field(1, 7)))
        + field(1, field(1, b"\2"))
        + field(2, field(1, b"\3") + field(3, b"\4"))
        + field(2, field(1, b"\5") + field(2, 1) + field(4, 1))
        + field(3, field(1, b"\6") + field(2, key_metadata))
    )
    collection = field(3, field(1, b"secret") + field(2, hashed) + field(3, b"\7"))
    rwset = (
        checked_transaction(envelope(action(results=forging.namespace(kv, collection))))
        .actions[0]
        .rwsets[0]
    )
    metadata = (MetadataEntry("VALIDATION_PARAMETER", b"\xff"),)
    assert rwset.namespace == "ns"
    assert rwset.reads == (Read("absent", None), Read("\0composite\0key", Version(_UINT64_MAX, 1)))
    assert rwset.range_queries == (
        RangeQuery("a", "b", exhausted=False, reads=None, merkle=MerkleSummary(50, 3, (b"\1\2",))),
        RangeQuery("c", "", exhausted=True, reads=(Read("d", None),), merkle=None),
        RangeQuery("e", "", exhausted=False, reads=None, merkle=None),
    )
    assert rwset.writes == (
        Write("k", b"\xff\0", is_delete=False),
        Write("gone", b"", is_delete=True),
        Write("deleted", b"value of a delete", is_delete=True),
    )
    assert rwset.metadata_writes == (MetadataWrite("k", metadata),)
    assert rwset.collections == (
        CollectionHashes(
            collection="secret",
            reads=(HashedRead(b"\1", Version(7, 0)), HashedRead(b"\2", None)),
            writes=(
                HashedWrite(b"\3", b"\4", is_delete=False, is_purge=False),
                HashedWrite(b"\5", b"", is_delete=True, is_purge=True),
            ),
            metadata_writes=(MetadataWrite(b"\6", metadata),),
            private_rwset_hash=b"\7",
        ),
    )


def test_parts_of_actions_that_are_never_recorded_are_decoded() -> None:
    """Recorded actions initialise no chaincode, have no message, and read no key of block 0."""
    response = field(3, field(1, 200) + field(2, b"a message") + field(3, b"\xff"))
    reads = field(1, field(1, b"of genesis") + field(2, b"")) + field(1, field(1, b"absent"))
    hashed = field(1, field(1, b"\1") + field(2, field(2, 3))) + field(1, field(1, b"\2"))
    results = forging.namespace(reads, field(3, field(2, hashed)))
    decoded_action = checked_transaction(
        envelope(
            action(args=field(1, b"Init") + field(3, 1), results=results, result_fields=response)
        )
    ).actions[0]
    assert (decoded_action.is_init, decoded_action.args) == (True, (b"Init",))
    assert decoded_action.response == Response(200, "a message", b"\xff")
    assert decoded_action.rwsets[0].reads == (
        Read("of genesis", Version(0, 0)),
        Read("absent", None),
    )
    assert decoded_action.rwsets[0].collections[0].reads == (
        HashedRead(b"\1", Version(0, 3)),
        HashedRead(b"\2", None),
    )


@pytest.mark.parametrize(
    ("seconds", "nanos", "milliseconds"),
    [
        (0, 0, 0),
        (-1, 999_999_999, -1),
        (1_700_000_000, 123_456_789, 1_700_000_000_123),
        (253_402_300_799, 999_999_999, 253_402_300_799_999),
        (253_402_300_800, 0, None),
        (-62_135_596_800, 0, -62_135_596_800_000),
        (-62_135_596_801, 0, None),
        (0, 1_000_000_000, None),
        (0, -1, None),
        (_INT64_MAX, 2**31 - 1, None),
        (_INT64_MIN, -(2**31), None),
    ],
)
def test_a_timestamp_is_stored_as_claimed_and_as_a_date_if_possible(
    seconds: int, nanos: int, milliseconds: int | None
) -> None:
    timestamp = field(1, seconds % 2**64) + field(2, nanos % 2**64)
    raw = forging.block([envelope(b"", timestamp=timestamp)])
    assert decode_block(read_block(raw)).transactions[0].timestamp == Timestamp(seconds, nanos)
    encoded = check_block(raw)
    assert milliseconds_of(decoded(encoded.transactions[0].raw)) == milliseconds
    assert milliseconds_of(decoded(encoded.block.raw)) == milliseconds


def test_one_wrong_clock_does_not_change_the_time_of_a_block() -> None:
    seconds = [2000, 253_402_300_799, 1000, _INT64_MAX, 3000]
    envelopes = [envelope(b"", timestamp=field(1, second)) for second in seconds]
    encoded = check_block(forging.block([*envelopes, envelope(b"")]))
    lower_median_of_the_dates = 2_000_000
    assert milliseconds_of(decoded(encoded.block.raw)) == lower_median_of_the_dates


def test_further_actions_are_stored_completely() -> None:
    second = action(
        result_fields=field(4, field(2, b"other") + field(3, b"2")), event=forging.event(b'{"a":1}')
    )
    raw = forging.block([envelope(action(event=forging.event(b"x")) + second)], bytes([0]))
    assert decode_block(read_block(raw)).transactions[0].actions[1].chaincode == Chaincode(
        "other", "2"
    )
    encoded = check_block(raw)
    (further,) = decoded(encoded.transactions[0].raw)["furtherActions"]
    assert (further["chaincodeId"], further["event"]["payload"]) == ("other", {"a": 1})
    # Fabric's clients deliver only the event of the first action.
    assert [decoded(event.raw)["payload"] for event in encoded.events] == ["x"]


def test_the_chaincode_id_is_in_the_action_or_else_in_the_headers_extension() -> None:
    named = action(result_fields=field(4, field(2, b"of-action")))
    extension = field(2, field(2, b"of-header"))
    assert checked_transaction(envelope(named, extension=extension)).chaincode_id == "of-action"
    assert checked_transaction(envelope(action(), extension=extension)).chaincode_id == "of-header"
    assert checked_transaction(envelope(b"\xff", extension=extension)).chaincode_id == "of-header"
    assert checked_transaction(envelope(b"")).chaincode_id is None


@pytest.mark.parametrize(
    ("envelope_bytes", "errors"),
    [
        (b"\xff", ("envelope",)),
        (field(1, b"\xff"), ("payload",)),
        (field(1, field(1, field(1, b"\xff"))), ("header.channel_header",)),
        (field(1, field(1, field(2, b"\xff"))), ("header.signature_header",)),
        (envelope(b"", creator=b"\xff"), ("header.creator",)),
        (envelope(b"\xff"), ("transaction",)),
        (envelope(b"", extension=b"\xff"), ("header.channel_header.extension",)),
        (envelope(field(1, field(2, b"\xff"))), ("actions.0",)),
        (envelope(action() + field(1, field(2, b"\xff"))), ("actions.1",)),
        (envelope(action(endorsements=field(2, field(1, b"\xff")))), ("actions.0.endorsements.0",)),
        (envelope(action(results=b"\xff")), ("actions.0.results",)),
        (envelope(action(results=forging.namespace(b"\xff"))), ("actions.0.results.0.rwset",)),
        (
            envelope(action(results=forging.namespace(b"", field(3, field(2, b"\xff"))))),
            ("actions.0.results.0.collections.0",),
        ),
        (envelope(action(event=b"\xff")), ("actions.0.events",)),
        (
            envelope(
                action(
                    result_fields=field(4, field(2, b"_lifecycle")),
                    args=field(1, b"CommitChaincodeDefinition") + field(1, b"\xff"),
                )
            ),
            ("actions.0.args.1",),
        ),
        (envelope(b"\xff", CONFIG), ("config",)),
        (
            envelope(config(group_child("Orderer", group_value("BatchSize", b"\xff"))), CONFIG),
            ("config/Channel/Orderer/BatchSize",),
        ),
    ],
)
def test_parts_that_cannot_be_decoded_are_named_and_the_others_are_stored(
    envelope_bytes: bytes, errors: tuple[str, ...]
) -> None:
    raw = forging.block([envelope_bytes])
    transaction = decode_block(read_block(raw)).transactions[0]
    encoded = check_block(raw)
    assert transaction.errors == errors
    assert encoded.undecodable == 1
    assert decoded(encoded.transactions[0].raw)["errors"] == list(errors)


@pytest.mark.parametrize(
    ("header_type", "name"),
    [(0, "MESSAGE"), (2, "CONFIG_UPDATE"), (6, "CHAINCODE_PACKAGE"), (7, "7"), (2**64 - 5, "-5")],
)
def test_unknown_header_types_and_codes_are_stored(header_type: int, name: str) -> None:
    encoded = check_block(forging.block([envelope(b"\xff", header_type)], bytes([201])))
    document = decoded(encoded.transactions[0].raw)
    assert (document["type"], document["status"], document["validationCode"]) == (name, "201", 201)


def test_an_empty_envelope_is_a_transaction() -> None:
    raw = forging.block([b"", b""])
    document = decoded(check_block(raw).transactions[1].raw)
    assert (document["txId"], document["claimedTxId"]) == (pack_position(5, 1), "")
    assert document["txIndex"] == 1
    assert document["envelopeHash"] == sha256(b"").hexdigest()
    assert document["type"] == "MESSAGE"  # Fabric reads the same from an absent header
    assert (document["ts"], document["creator"], document["chaincodeId"]) == (None, None, None)
