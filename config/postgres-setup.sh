#!/usr/bin/env bash
# Used by docker-compose.yml after `kindledger migrate up`: creates the user of the daemon, which has
# only the role kindledger_indexer, and the user of the API, which has only the role
# kindledger_reporter. It can be run again at any time.
set -euo pipefail
SECRETS=${SECRETS:-/run/secrets}
PGPASSWORD=$(cat "$SECRETS/postgres_password")
POSTGRES_INDEXER_PASSWORD=$(cat "$SECRETS/postgres_indexer_password")
POSTGRES_API_PASSWORD=$(cat "$SECRETS/postgres_api_password")
export PGPASSWORD POSTGRES_INDEXER_PASSWORD POSTGRES_API_PASSWORD

# Passwords are passed in the environment, because every process can read command lines.
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
