"""The state of each channel that the service holds in memory, and how it is kept up to date."""
