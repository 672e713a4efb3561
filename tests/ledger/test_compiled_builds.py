"""The compiled encoder has no memory error, and its check finds faults made on purpose."""

from pathlib import Path

import pytest

from tests.ledger.compiled_builds import Fault, build, check

pytestmark = pytest.mark.long

_CORPUS = Path(__file__).parent.parent / "fixtures" / "compiled_corpus"

_FAULTS = [
    Fault(
        "a length beyond the end is accepted",
        "wire.pxd",
        "if size > <uint64_t>rest.size:",
        "if size >> 40:",
    ),
    Fault(
        "a repeated message is accepted",
        "wire.pxd",
        "if wire_type != LENGTH_DELIMITED or fields[number].present:",
        "if wire_type != LENGTH_DELIMITED:",
    ),
    Fault("overlong tags are accepted", "wire.pxd", "MAX_TAG_BYTES = 5", "MAX_TAG_BYTES = 9"),
    Fault(
        "a code point above U+10FFFF is valid",
        "utf8.pxd",
        "first == 0xF4 and second > 0x8F",
        "first == 0xF4 and second > 0x9F",
    ),
    Fault(
        "a surrogate is valid",
        "utf8.pxd",
        " or first == 0xED and second > 0x9F",
        "",
    ),
    Fault(
        "a number of 32 bits without sign is an int32",
        "bson.pxd",
        "if -0x80000000 <= value <= 0x7FFFFFFF:",
        "if -0x80000000 <= value and value >> 32 <= 0:",
    ),
    Fault(
        "the first write of a key counts",
        "state_changes.pxd",
        "return (a > b) - (a < b)",
        "return (a < b) - (a > b)",
    ),
    Fault(
        "collections are not in order",
        "state_changes.pxd",
        "        order = _compare_spans(&a.collection, &b.collection)\n",
        "        order = _compare_spans(&b.collection, &a.collection)\n",
    ),
    Fault(
        "an empty value is no deletion",
        "state_changes.pxd",
        "write.is_delete or write.value.size == 0",
        "write.is_delete",
    ),
    Fault(
        "writes of an invalid transaction count",
        "_blocks.pyx",
        "        if envelope.code == VALID:\n            collect_writes(",
        "        if True:\n            collect_writes(",
    ),
    Fault(
        "an incomplete transaction remains",
        "_blocks.pyx",
        "            self._transactions.size = transactions_size\n",
        "",
    ),
    Fault(
        "an incomplete payload remains",
        "_blocks.pyx",
        "        buffer.size = size\n",
        "",
    ),
    Fault(
        "the name of an event is its chaincode",
        "_blocks.pyx",
        'name("eventName"), event[3].span',
        'name("eventName"), event[1].span',
    ),
    Fault(
        "milliseconds are rounded to the nearest",
        "transaction_fields.pxd",
        "nanos // 1_000_000\n",
        "(nanos + 500_000) // 1_000_000\n",
    ),
    Fault(
        "a second has a billion and one nanoseconds",
        "transaction_fields.pxd",
        "nanos >= 1_000_000_000",
        "nanos > 1_000_000_000",
    ),
    Fault(
        "a claimed id is missing",
        "_blocks.pyx",
        "if not envelope.owns_id:",
        "if not envelope.owns_id and envelope.code == VALID:",
    ),
    Fault(
        "the calls of _lifecycle are ordinary",
        "transaction_fields.pxd",
        "envelope.chaincode.size == 0 or _may_be_lifecycle(envelope.chaincode)",
        "envelope.chaincode.size == 0",
    ),
    Fault(
        "identities of the same length are equal",
        "identities.pxd",
        """            identity.hash == hashed
            and identity.serialized.size == serialized.size
            and memcmp(identity.serialized.data, serialized.data, serialized.size) == 0
""",
        "            identity.serialized.size == serialized.size\n",
    ),
    Fault(
        "a key may be repeated",
        "json.pxd",
        "if keys[index].size == key.size and memcmp",
        "if keys[index].size != key.size and memcmp",
    ),
    Fault(
        "a payload may have any number of commas",
        "json.pxd",
        "return count <= MAX_COMMAS",
        "return True",
    ),
    Fault(
        "the elements of an array have one name",
        "json.pxd",
        "position_name(&decimal, count)",
        "position_name(&decimal, count if count < 10 else 9)",
    ),
    Fault("integers have 19 digits", "json.pxd", "MAX_DIGITS = 18", "MAX_DIGITS = 19"),
    Fault(
        "the summary of a range query is ignored",
        "read_write_sets.pxd",
        "if fields[5].present:",
        "if fields[5].present and fields[4].present:",
    ),
]

_MEMORY_FAULTS = [
    Fault("integers overflow", "json.pxd", "MAX_DIGITS = 18", "MAX_DIGITS = 20"),
    Fault(
        "text is read in steps of 8 bytes to its end",
        "utf8.pxd",
        "while size - at >= 8:",
        "while size - at >= 1:",
    ),
    Fault("an object has any number of keys", "json.pxd", "while count < MAX_KEYS:", "while True:"),
    Fault(
        "the buffer grows too late",
        "bson.pxd",
        "if size > buffer.capacity - buffer.size:",
        "if size > buffer.capacity - buffer.size + 8:",
    ),
    Fault(
        "the document of an identity has no memory",
        "identities.pxd",
        "sizeof(Identity) + serialized.size + document.size",
        "sizeof(Identity) + serialized.size",
    ),
    Fault(
        "an identity is used after its release",
        "identities.pxd",
        "    memset(table.buckets, 0, sizeof(table.buckets))\n",
        "",
    ),
]


def _named(faults: list[Fault]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("fault", faults, ids=[fault.name for fault in faults])


def test_the_sanitizers_report_nothing(tmp_path: Path) -> None:
    arguments = ["--seconds", "45", "--corpus", str(_CORPUS)]
    done = check(build(tmp_path, sanitized=True), arguments, sanitized=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Sanitizer" not in done.stderr
    assert "runtime error" not in done.stderr


@_named(_FAULTS)
def test_the_check_finds_a_fault(fault: Fault, tmp_path: Path) -> None:
    done = check(build(tmp_path, fault=fault), ["--seconds", "60"])
    assert done.returncode == 1, done.stdout + done.stderr
    assert "The encoders differ" in done.stdout


@_named(_MEMORY_FAULTS)
def test_the_sanitizers_find_a_fault(fault: Fault, tmp_path: Path) -> None:
    extension = build(tmp_path, sanitized=True, fault=fault)
    done = check(extension, ["--seconds", "60"], sanitized=True)
    assert done.returncode != 0, done.stdout
    assert "ERROR: AddressSanitizer" in done.stderr or "runtime error" in done.stderr, done.stderr
