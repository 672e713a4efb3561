"""Blocks with content that a client or an orderer made to harm the reader."""

import base64
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.decoding.blocks import decode_block, read_block
from ledger.decoding.identities import decode_certificate
from ledger.model import ChannelConfig
from tests.ledger import forging
from tests.ledger.forging import (
    CONFIG,
    action,
    config,
    envelope,
    event,
    group_child,
    group_policy,
    namespace,
)
from tests.ledger.hypothesis_profiles import PROFILES
from tests.ledger.invariants import MAX_GROWTH, check_block, decoded, encode
from tests.ledger.wire_format import field

_SERIAL = bytes.fromhex("1122334455")
_N = 30_000


@pytest.mark.parametrize(
    "data",
    [
        field(1, b"") * (_N // 10),
        field(1, field(2, b"\xff")) * (_N // 10),
        action(endorsements=field(2, b"") * _N),
        action(endorsements=field(2, field(1, b"\xff")) * _N),
        action(args=field(1, b"") * _N),
        action(results=field(2, b"") * _N),
        action(results=namespace(field(1, b"") * _N)),
        action(results=namespace(field(2, b"") * _N)),
        action(results=namespace(field(3, b"") * _N)),
        action(results=namespace(field(4, field(2, b"") * _N))),
        action(results=namespace(field(2, field(4, field(1, b"") * _N)))),
        action(results=namespace(field(2, field(5, field(3, b"") * _N)))),
        action(results=namespace(b"", field(3, b"") * _N)),
        action(results=namespace(b"", field(3, field(2, field(2, b"") * _N)))),
        action(event=event(b"[" + b"[]," * _N + b"0]")),
        action(event=event(b"[" + b"{}," * _N + b"0]")),
    ],
    ids=lambda data: data[:12].hex(),
)
def test_the_cost_of_many_empty_elements_is_proportional(data: bytes) -> None:
    started = time.process_time()
    check_block(forging.block([envelope(data)]))
    assert time.process_time() - started < 10


_TOO_MANY = 260_000


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (field(1, b"") * _TOO_MANY, "transaction"),
        (action(endorsements=field(2, b"") * _TOO_MANY), "actions.0.endorsements"),
        (action(args=field(1, b"") * _TOO_MANY), "actions.0.args"),
        (action(results=field(2, b"") * _TOO_MANY), "actions.0.results"),
        (action(results=namespace(field(1, b"") * _TOO_MANY)), "actions.0.results.0.rwset"),
        (
            action(results=namespace(b"", field(3, b"") * _TOO_MANY)),
            "actions.0.results.0.collections",
        ),
        (
            action(results=namespace(b"", field(3, field(2, field(2, b"") * _TOO_MANY)))),
            "actions.0.results.0",
        ),
    ],
)
def test_lists_that_are_too_long_are_named_with_their_length_and_the_rest_is_stored(
    data: bytes, path: str
) -> None:
    encoded = check_block(
        forging.block([envelope(data), envelope(action(event=event(b"next")))], b"\xff\0")
    )
    document = decoded(encoded.transactions[0].raw)
    (error,) = document["errors"]
    assert error.startswith(path)
    assert error.endswith(f"({_TOO_MANY} elements)")
    assert document["txId"] == "id" or document["claimedTxId"] == "id"
    assert len(encoded.transactions[0].raw) < 2048
    assert decoded(encoded.events[0].raw)["payload"] == "next"


def _config_of(channel_group: bytes) -> tuple[ChannelConfig | None, tuple[str, ...]]:
    raw = forging.block([envelope(config(channel_group), CONFIG)])
    encode(raw)
    transaction = decode_block(read_block(raw)).transactions[0]
    return transaction.config, transaction.errors


@pytest.mark.parametrize(("depth", "readable"), [(1, True), (45, True), (60, False), (5000, False)])
def test_groups_are_decoded_unless_they_are_nested_too_deeply(depth: int, readable: bool) -> None:
    group = group_policy("Last", 3, field(1, b"Readers"))
    for _ in range(depth):
        group = group_child("g", group)
    configuration, errors = _config_of(group)
    if readable:
        assert configuration is not None
        assert [policy.path for policy in configuration.policies] == [
            f"/Channel{'/g' * depth}/Last"
        ]
    else:
        assert (configuration, errors) == (None, ("config",))


@pytest.mark.parametrize(
    ("depth", "readable"), [(1, True), (40, True), (100, False), (5000, False)]
)
def test_rules_are_decoded_unless_they_are_nested_too_deeply(depth: int, readable: bool) -> None:
    rule = field(1, 0)
    for _ in range(depth):
        rule = field(2, field(1, 1) + field(2, rule))
    configuration, _ = _config_of(group_policy("Deep", 1, field(2, rule)))
    assert configuration is not None
    words = "1 of (" * depth + "unknown principal 0" + ")" * depth
    assert configuration.policies[0].rule == (words if readable else "unreadable policy of type 1")


def test_a_policy_that_names_one_principal_many_times_is_not_described() -> None:
    principal = field(3, field(2, field(1, b"m" * 100_000)))
    rule = field(2, field(1, 1) + field(2, field(1, 0)) * 100_000)
    policy = field(2, rule) + principal
    configuration, _ = _config_of(
        group_policy("Bomb", 1, policy) + group_policy("Next", 3, field(1, b"Readers"))
    )
    assert configuration is not None
    assert [policy.rule for policy in configuration.policies] == [
        f"signature policy of {len(policy)} bytes",
        "ANY Readers",
    ]


def test_policies_below_a_very_long_name_are_cut_off_with_an_error() -> None:
    policies = b"".join(group_policy(str(i), 3, b"") for i in range(10_000))
    configuration, errors = _config_of(
        group_child("n" * 100_000, policies) + group_child("z", policies)
    )
    assert configuration is not None
    assert 10 < len(configuration.policies) < 100
    assert errors == ("config.policies",)


def test_very_many_groups_below_a_very_long_name_are_cut_off_with_an_error() -> None:
    groups = b"".join(group_child(str(i), b"") for i in range(20_000))
    configuration, errors = _config_of(group_child("n" * 1_000_000, groups))
    assert configuration is not None
    assert errors == ("config.policies",)


def test_a_part_of_a_configuration_that_fits_in_no_document_is_omitted() -> None:
    addresses = forging.group_value("OrdererAddresses", field(1, b"") * 2_000_000)
    document = decoded(
        encode(forging.block([envelope(config(addresses), CONFIG)])).transactions[0].raw
    )
    assert document["config"]["ordererAddresses"]["omitted"] is True
    assert document["config"]["sequence"] == 0


def _certificate() -> bytes:
    key = ec.derive_private_key(7, ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "name")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(_SERIAL))
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
    )
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


_DER = _certificate()


def _pem(der: bytes) -> bytes:
    return (
        b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"
    )


def _negative_serial(der: bytes) -> bytes:
    return der.replace(_SERIAL, b"\x91" + _SERIAL[1:])


def _version(number: int) -> Callable[[bytes], bytes]:
    return lambda der: der.replace(
        bytes.fromhex("a003020102"), bytes.fromhex("a0030201") + bytes([number])
    )


@pytest.mark.parametrize(
    ("alter", "kind"),
    [
        (lambda der: der, "x509"),
        (_negative_serial, "x509"),
        (_version(3), "unknown"),
        (_version(127), "unknown"),
        (lambda der: der.replace(_SERIAL, b"\0" * 5), "unknown"),
        (lambda der: der.replace(b"\x0c\x04name", b"\x03\x04\0ame"), "unknown"),
        (lambda der: der + b"\0", "unknown"),
        (lambda der: b"", "unknown"),
    ],
)
def test_an_unusual_certificate_is_decoded_or_kept_as_a_digest(
    alter: Callable[[bytes], bytes], kind: str
) -> None:
    der = alter(_DER)
    creator = field(1, b"MSP") + field(2, _pem(der))
    encoded = check_block(forging.block([envelope(b"", creator=creator)]))
    identity = decoded(encoded.transactions[0].raw)["creator"]
    if kind == "x509":
        assert identity == {
            "mspId": "MSP",
            "subject": "CN=name",
            "fingerprint": sha256(der).hexdigest(),
        }
    else:
        assert (identity["kind"], identity["digest"]) == ("unknown", sha256(_pem(der)).hexdigest())


def test_a_country_with_four_letters_is_decoded_without_a_warning() -> None:
    pem = _pem(_DER.replace(b"\x55\x04\x03", b"\x55\x04\x06"))
    assert decode_certificate("MSP", pem).subject == "C=name"


def test_a_truncated_certificate_is_of_an_unknown_kind() -> None:
    pem = _pem(_DER)
    for length in range(0, len(pem), 3):
        assert decode_certificate("MSP", pem[:length]).kind == (
            "x509" if length >= len(pem) - 1 else "unknown"
        )
    for length in range(0, len(_DER), 5):
        assert decode_certificate("MSP", _pem(_DER[:length])).kind == "unknown"


@pytest.mark.parametrize("profile", PROFILES)
def test_a_damaged_certificate_does_not_stop_decoding(profile: settings) -> None:
    @profile
    @given(
        st.lists(
            st.tuples(st.integers(0, len(_DER) - 1), st.integers(0, 255)), min_size=1, max_size=3
        )
    )
    def check(changes: list[tuple[int, int]]) -> None:
        der = bytearray(_DER)
        for at, byte in changes:
            der[at] = byte
        assert decode_certificate("MSP", _pem(bytes(der))).msp_id == "MSP"

    check()


def test_the_limit_of_growth_is_close_to_the_worst_case() -> None:
    """The limit that `check_block` uses in all tests is not far too high."""
    encoded = encode(
        forging.block([envelope(action(results=namespace(b"", field(3, b"") * 100_000)))])
    )
    assert MAX_GROWTH / 4 < encoded.size / 200_000 < MAX_GROWTH
