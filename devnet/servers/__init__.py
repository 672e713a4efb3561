"""Embedded MongoDB, PostgreSQL and Redis servers for tests, benchmarks and the demo."""

from devnet.servers.embedded_servers import EmbeddedServers, start_or_find
from devnet.servers.errors import ProgramNotFoundError, ServerError
from devnet.servers.mongod import Mongod, MongodMember
from devnet.servers.postgres import Postgres
from devnet.servers.postgres_replica import PostgresReplica
from devnet.servers.programs import Program
from devnet.servers.redis import Redis
from devnet.servers.replica_set import MongoReplicaSet
from devnet.servers.server import Server

__all__ = [
    "EmbeddedServers",
    "MongoReplicaSet",
    "Mongod",
    "MongodMember",
    "Postgres",
    "PostgresReplica",
    "Program",
    "ProgramNotFoundError",
    "Redis",
    "Server",
    "ServerError",
    "start_or_find",
]
