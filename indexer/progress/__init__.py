"""How far a channel is, in memory."""
