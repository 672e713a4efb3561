"""The configuration: its settings, how they are read, and how they are shown without secrets."""
