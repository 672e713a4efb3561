"""Routes: what they are, what their handlers receive, and how they are served."""
