"""Stores the ledger in MongoDB and reads it."""
