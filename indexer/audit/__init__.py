"""Finds what a store has that the chain has not, and repairs it."""
