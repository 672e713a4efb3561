"""What the service keeps in memory about each channel, and how it is kept up to date."""
