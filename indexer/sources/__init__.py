"""Where blocks come from: peers and files."""
