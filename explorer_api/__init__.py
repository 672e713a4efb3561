"""The read-only HTTP API of the ledger in MongoDB, for all indexed channels."""
