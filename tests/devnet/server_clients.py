"""Clients of the embedded servers, which add a name and read all names."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from pymongo import MongoClient
from redis import Redis as RedisClient

from devnet.servers import (
    Mongod,
    Postgres,
    Redis,
    Server,
)


@dataclass(frozen=True)
class ServerCase:
    """A server, and the functions of a client that adds a name and reads all names."""

    make: Callable[[Path], Server]
    add: Callable[[str, str], None]
    names: Callable[[str], list[str]]


def mongo_add(uri: str, name: str) -> None:
    with (
        MongoClient[dict[str, Any]](uri) as client,
        client.start_session() as session,
        session.start_transaction(),
    ):
        client.shop.names.insert_one({"name": name}, session=session)


def mongo_names(uri: str) -> list[str]:
    with MongoClient[dict[str, Any]](uri) as client:
        return [document["name"] for document in client.shop.names.find()]


def postgres_run(dsn: str, *statements: str) -> list[str]:
    async def run() -> list[str]:
        connection = await asyncpg.connect(dsn)
        try:
            rows: list[asyncpg.Record] = []
            for statement in statements:
                rows = await connection.fetch(statement)
            return [row[0] for row in rows]
        finally:
            await connection.close()

    return asyncio.run(run())


def postgres_add(dsn: str, name: str) -> None:
    table = "CREATE TABLE IF NOT EXISTS names (number serial, name text)"
    postgres_run(dsn, table, f"INSERT INTO names (name) VALUES ('{name}')")


def redis_add(url: str, name: str) -> None:
    with RedisClient.from_url(url) as client:
        client.rpush("names", name)


def redis_names(url: str) -> list[str]:
    with RedisClient.from_url(url, decode_responses=True) as client:
        names: Any = client.lrange("names", 0, -1)
        return list(names)


CASES = {
    "mongod": ServerCase(Mongod, mongo_add, mongo_names),
    "mongod-auth": ServerCase(lambda data: Mongod(data, auth=True), mongo_add, mongo_names),
    "postgres": ServerCase(
        Postgres,
        postgres_add,
        lambda dsn: postgres_run(dsn, "SELECT name FROM names ORDER BY number"),
    ),
    "redis": ServerCase(Redis, redis_add, redis_names),
}
