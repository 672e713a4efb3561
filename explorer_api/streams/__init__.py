"""Live streams: their messages, where they are read from, and how they are sent."""
