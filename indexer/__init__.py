"""The daemon: follows channels, block by block, and keeps their ledgers in MongoDB."""
