#!/usr/bin/env bash
# For docker-compose.yml, after `kindledger migrate up`: creates the daemon's user, who has the role kindledger_indexer
# and nothing else, and the API's, who has kindledger_reporter. Safe to run again.
set -euo pipefail
SECRETS=${SECRETS:-/run/secrets}
PGPASSWORD=$(cat "$SECRETS/postgres_password")
POSTGRES_INDEXER_PASSWORD=$(cat "$SECRETS/postgres_indexer_password")
POSTGRES_API_PASSWORD=$(cat "$SECRETS/postgres_api_password")
export PGPASSWORD POSTGRES_INDEXER_PASSWORD POSTGRES_API_PASSWORD

# Passwords go through the environment, never through arguments, which every process can read.
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 <<'SQL'
\getenv password POSTGRES_INDEXER_PASSWORD
SELECT 'CREATE ROLE kindledger_daemon' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'kindledger_daemon') \gexec
ALTER ROLE kindledger_daemon LOGIN PASSWORD :'password';
GRANT kindledger_indexer TO kindledger_daemon;
\getenv password POSTGRES_API_PASSWORD
SELECT 'CREATE ROLE kindledger_reader' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'kindledger_reader') \gexec
ALTER ROLE kindledger_reader LOGIN PASSWORD :'password';
GRANT kindledger_reporter TO kindledger_reader;
SQL
