"""The read-only HTTP API over the ledger in MongoDB: blocks, transactions and events of every indexed channel."""
