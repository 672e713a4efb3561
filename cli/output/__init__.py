"""What the commands print and log."""
