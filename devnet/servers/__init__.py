"""Real MongoDB, PostgreSQL and Redis servers that a test session or the demo starts by itself."""

from devnet.servers.binaries import Program
from devnet.servers.embedded import EmbeddedServers, provide
from devnet.servers.errors import BinaryMissing, ServerError
from devnet.servers.mongod import Mongod, MongodMember
from devnet.servers.postgres import Postgres
from devnet.servers.postgres_replica import PostgresReplica
from devnet.servers.redis import Redis
from devnet.servers.replica_set import MongoReplicaSet
from devnet.servers.server import Server

__all__ = [
    "BinaryMissing",
    "EmbeddedServers",
    "MongoReplicaSet",
    "Mongod",
    "MongodMember",
    "Postgres",
    "PostgresReplica",
    "Program",
    "Redis",
    "Server",
    "ServerError",
    "provide",
]
