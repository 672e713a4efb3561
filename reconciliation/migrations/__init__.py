"""Schema migrations of the business database."""
