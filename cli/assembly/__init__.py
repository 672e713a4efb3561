"""Builds the parts of the program as the configuration says."""
