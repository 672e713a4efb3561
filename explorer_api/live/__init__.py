"""What the service holds in memory, and keeps up to date: heads, totals, caches and samples."""
