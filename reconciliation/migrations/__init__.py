"""The migrations of the business schema: how they are read, recorded and run."""
