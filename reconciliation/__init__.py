"""Reconciliation: what the ledger says of a transaction is written into the business rows that name it."""
