"""Ledgers of Fabric channels: decoding, hashes, owners of ids, documents and the MongoDB store."""
