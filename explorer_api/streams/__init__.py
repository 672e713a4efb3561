"""The live streams of a channel."""
