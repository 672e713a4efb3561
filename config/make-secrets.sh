#!/usr/bin/env bash
# Writes random passwords for docker-compose.yml into ./secrets; leaves those that are there. Needs nothing but a shell.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 077
mkdir -p secrets
# The containers read them as users of their own: the folder is closed, the files in it are not.
random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
keep() { [ -s "secrets/$1" ] || { printf '%s' "$2" >"secrets/$1"; chmod 644 "secrets/$1"; }; }

keep mongo_keyfile "$(random 96)"
for name in mongo_root mongo_indexer mongo_api postgres postgres_indexer postgres_api redis; do
    keep "${name}_password" "$(random 24)"
done
for user in indexer api; do
    keep "mongo_${user}_uri" \
        "mongodb://kindledger_${user}:$(cat "secrets/mongo_${user}_password")@mongo:27017/?replicaSet=rs0&authSource=admin"
done
keep postgres_migration_dsn "postgresql://postgres:$(cat secrets/postgres_password)@postgres:5432/kindledger"
keep postgres_dsn "postgresql://kindledger_daemon:$(cat secrets/postgres_indexer_password)@postgres:5432/kindledger"
keep postgres_api_dsn "postgresql://kindledger_reader:$(cat secrets/postgres_api_password)@postgres:5432/kindledger"
keep redis_url "redis://:$(cat secrets/redis_password)@redis:6379/0"
echo "secrets/ is complete; keep it out of backups that others can read"
