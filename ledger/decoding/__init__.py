"""Decodes blocks and envelopes of Fabric's wire format into the ledger's model. Pure: no I/O, no clock."""
