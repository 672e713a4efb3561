"""The daemon: follows channels block by block, and stores their ledgers in MongoDB."""
