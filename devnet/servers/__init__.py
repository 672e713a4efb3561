"""Real MongoDB, PostgreSQL and Redis servers that a test session or the demo starts by itself."""

from devnet.servers.embedded_servers import EmbeddedServers, provide
from devnet.servers.errors import ProgramNotFoundError, ServerError
from devnet.servers.mongod import Mongod, MongodMember
from devnet.servers.postgres import Postgres
from devnet.servers.postgres_replica import PostgresReplica
from devnet.servers.programs import Program
from devnet.servers.redis import Redis
from devnet.servers.replica_set import MongoReplicaSet
from devnet.servers.server import Server

__all__ = [
    "ProgramNotFoundError",
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
