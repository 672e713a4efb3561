"""Decodes blocks and envelopes of Fabric's wire format into `ledger.model`, without any I/O."""
