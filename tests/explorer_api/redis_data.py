"""Functions that replace a value of the API in Redis by damaged or foreign data."""

from hashlib import sha256

import msgspec
from redis import Redis


def as_list(redis: Redis, key: bytes, value: bytes) -> None:
    redis.delete(key)
    redis.rpush(key, "theirs")


def as_garbage(redis: Redis, key: bytes, value: bytes) -> None:
    redis.set(key, b"\xff garbage \0")


def as_empty(redis: Redis, key: bytes, value: bytes) -> None:
    redis.set(key, b"")


def truncated(redis: Redis, key: bytes, value: bytes) -> None:
    redis.set(key, value[: len(value) // 2])


def with_flipped_bits(redis: Redis, key: bytes, value: bytes) -> None:
    redis.set(key, bytes(byte ^ 1 for byte in value))


def of_another_version(redis: Redis, key: bytes, value: bytes) -> None:
    """Replace the value by a complete one of another format."""
    encoded = msgspec.msgpack.encode({"body": b"{}", "status": 200, "etag": "e", "kind": "json"})
    redis.set(key, sha256(encoded).digest()[:16] + encoded)


def huge(redis: Redis, key: bytes, value: bytes) -> None:
    redis.set(key, b"x" * (8 << 20))


REPLACEMENTS = (
    (truncated, as_empty, huge),
    (as_garbage, with_flipped_bits, of_another_version),
    (as_list,),
)
