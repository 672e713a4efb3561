"""Turns decoded blocks into the documents that MongoDB stores. Pure: no I/O, no clock."""
