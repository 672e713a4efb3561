"""What a ledger is and how it is kept: decoding, hashing, identities, documents and the Mongo store."""
