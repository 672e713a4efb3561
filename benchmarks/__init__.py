"""Benchmarks of the program, each with the limit of MongoDB or the machine in the same run."""
