"""What the service says of itself: OpenAPI, the page, docs/api.md; all made from the route table."""
