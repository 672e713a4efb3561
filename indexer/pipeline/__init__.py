"""Indexes one channel: checks, decodes and stores the blocks that its sources deliver."""
