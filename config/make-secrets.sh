#!/usr/bin/env bash
# Writes random passwords for docker-compose.yml into the folder secrets. Existing files stay
# unchanged. Needs nothing but bash and coreutils.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 077
mkdir -p secrets
# Only the owner can enter the folder. The files in it are readable by all, because each container
# reads them as a user of its own.
random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
write_if_missing() { [ -s "secrets/$1" ] || { printf '%s' "$2" >"secrets/$1"; chmod 644 "secrets/$1"; }; }

write_if_missing mongo_keyfile "$(random 96)"
for name in mongo_root mongo_indexer mongo_repair mongo_api postgres postgres_indexer postgres_api redis; do
    write_if_missing "${name}_password" "$(random 24)"
done
for user in indexer repair api; do
    write_if_missing "mongo_${user}_uri" \
        "mongodb://kindledger_${user}:$(cat "secrets/mongo_${user}_password")@mongo:27017/?replicaSet=rs0&authSource=admin"
done
write_if_missing postgres_migration_dsn "postgresql://postgres:$(cat secrets/postgres_password)@postgres:5432/kindledger"
write_if_missing postgres_dsn "postgresql://kindledger_daemon:$(cat secrets/postgres_indexer_password)@postgres:5432/kindledger"
write_if_missing postgres_api_dsn "postgresql://kindledger_reader:$(cat secrets/postgres_api_password)@postgres:5432/kindledger"
write_if_missing redis_url "redis://:$(cat secrets/redis_password)@redis:6379/0"
echo "secrets/ is complete; exclude it from backups that others can read"
