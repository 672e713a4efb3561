"""Process plumbing that knows neither Fabric nor a database schema: retries, logs, tasks, metrics, HTTP serving."""
