"""Values that a hostile client sends where a reader expects text, JSON, a time or a number."""

from collections.abc import Mapping

from google.protobuf.timestamp_pb2 import Timestamp

from devnet import wire_format
from devnet.forge.chaincodes import KINDLEDGER
from protos.kvrwset_pb2 import KVRWSet
from protos.rwset_pb2 import CollectionHashedReadWriteSet, NsReadWriteSet, TxReadWriteSet

NOT_UTF8 = b"\xc3\x28\xff\xfe\x00"

TX_IDS: Mapping[str, str] = {
    "empty": "",
    "nul": "a\0b",
    "control": "\x01\x1b[2J\r\n\x7f\u0085\u2028\u202e",
    "long": "x" * 5000,
    "markup": "<script>alert(1)</script>' OR 1=1 --",
    "slashes": "../../admin?x=1#y%00",
    "highest": "\U0010ffff",
    "upper_case": "A" * 64,
}

TIMESTAMPS: Mapping[str, Timestamp | None] = {
    "missing": None,
    "zero": Timestamp(),
    "negative": Timestamp(seconds=-1, nanos=999_999_999),
    "year_0": Timestamp(seconds=-62_167_219_200),
    "year_9999": Timestamp(seconds=253_402_300_799, nanos=999_999_999),
    "year_10000": Timestamp(seconds=253_402_300_800),
    "largest": Timestamp(seconds=2**63 - 1, nanos=2**31 - 1),
    "smallest": Timestamp(seconds=-(2**63), nanos=-(2**31)),
    "nanos_too_large": Timestamp(seconds=1_700_000_000, nanos=2_000_000_000),
    "nanos_negative": Timestamp(seconds=1_700_000_000, nanos=-1),
}

KEYS: Mapping[str, str] = {
    "nul": "\0composite\0with\0parts\0",
    "highest": "\U0010ffff\U0010ffff",
    "dollar": "$where",
    "dotted": "a.b..c.",
    "controls": "\x01\x02\x1b\x7f\u0085",
    "long": "k" * 20_000,
}

RESULTS: Mapping[str, bytes] = {
    "unparsable": wire_format.UNPARSABLE,
    "kv_unparsable": TxReadWriteSet(
        ns_rwset=[NsReadWriteSet(namespace=KINDLEDGER.name, rwset=wire_format.UNPARSABLE)]
    ).SerializeToString(),
    "hashed_unparsable": TxReadWriteSet(
        ns_rwset=[
            NsReadWriteSet(
                namespace=KINDLEDGER.name,
                rwset=KVRWSet().SerializeToString(),
                collection_hashed_rwset=[
                    CollectionHashedReadWriteSet(
                        collection_name="donorPrivate", hashed_rwset=wire_format.UNPARSABLE
                    )
                ],
            )
        ]
    ).SerializeToString(),
    "key_not_utf8": TxReadWriteSet(
        ns_rwset=[
            NsReadWriteSet(
                namespace=KINDLEDGER.name,
                rwset=wire_format.field(3, wire_format.field(1, NOT_UTF8)),
            ),
        ]
    ).SerializeToString(),
    "namespace_not_utf8": wire_format.field(2, wire_format.field(1, NOT_UTF8)),
}
"""Read/write sets with a `TxReadWriteSet`, or a message inside it, that cannot be parsed."""

EVENT_NAMES: Mapping[str, str] = {
    "empty": "",
    "nul": "Mint\0",
    "dollar": "$eventName",
    "unicode": "Quyên góp 🪔\u202e",
    "long": "E" * 10_000,
}

EVENT_PAYLOADS: Mapping[str, bytes] = {
    "not_utf8": NOT_UTF8,
    "nul_byte": b'{"a":"\0"}',
    "nul_escape": b'{"text":"a\\u0000b"}',
    "nul_in_key": b'{"a\\u0000b":1}',
    "dollar_keys": (
        b'{"$set":{"status":"VALID"},"$where":"sleep(1)","$date":"2026-01-01","$oid":"x"}'
    ),
    "dotted_keys": b'{"a.b":1,"a":{"b":2},".":3,"":4}',
    "large_integers": (
        b'{"a":9223372036854775807,"b":9223372036854775808,'
        b'"c":-9223372036854775809,"d":1' + b"0" * 400 + b"}"
    ),
    "floats": (
        b'{"a":1.0,"b":1e400,"c":-0.0,"d":0.1000000000000000055511151231257827,"e":1E5,"f":5e-324}'
    ),
    "not_numbers": b'{"a":NaN,"b":Infinity,"c":-Infinity}',
    "nested_99": b'{"a":' * 98 + b"[1]" + b"}" * 98,
    "nested_200": b"[" * 200 + b"]" * 200,
    "nested_objects_200": b'{"a":' * 200 + b"1" + b"}" * 200,
    "nested_100000": b"[" * 100_000,
    "duplicate_keys": b'{"amount":1,"amount":1000000}',
    "lone_surrogate": b'{"text":"\\ud800"}',
    "byte_order_mark": b'\xef\xbb\xbf{"a":1}',
    "spaces": b' {"a" : 1 }\n',
    "key_order": b'{"b":1,"a":2}',
    "escapes": b'{"text":"\\u0041\\/\\ud83e\\ude94"}',
    "scalar": b"42",
    "string": b'"text"',
    "null": b"null",
    "array": b'[1,"2",null,{"a":[]}]',
    "truncated": b'{"campaignId":"cd-000001","amount":',
    "trailing": b'{"a":1}{"a":2}',
    "prototype": b'{"__proto__":{"admin":true},"constructor":1,"_id":"x","txId":"0"}',
    "markup": b'{"name":"<img src=x onerror=alert(1)>"}',
    "many_keys": b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(5_000)) + b"}",
}
"""Payloads that are unusual JSON, almost JSON, or not text."""
