"""Verifies the signatures of envelopes in the background, in a process of its own."""
