"""Compares what several peers say of the same blocks."""
