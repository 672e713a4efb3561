"""Builds the parts of the program from the configuration, and connects them."""
