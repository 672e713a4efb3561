"""Generates the documentation from the route table: OpenAPI, a page, and docs/api.md."""
