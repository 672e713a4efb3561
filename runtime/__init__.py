"""Process plumbing that knows neither Fabric nor a database schema."""
