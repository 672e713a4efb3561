"""The HTTP layer: access control, rate limits, parameters, responses, problems, and the server."""
