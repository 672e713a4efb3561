"""Stores ledgers in MongoDB and reads them."""
