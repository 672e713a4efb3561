"""Tests of reconciliation: business rows in PostgreSQL against the ledger in MongoDB."""
