"""Reconciliation: settles the business rows in PostgreSQL by what the ledger says."""
