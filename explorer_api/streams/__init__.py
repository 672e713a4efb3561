"""What the live streams of a channel are made of."""
