"""Reconciliation with PostgreSQL, on a real one."""
