"""From a request to its response: what a route is, what its handler receives, and how it is served."""
