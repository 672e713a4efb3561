"""Replaces a Fabric network: embedded servers, forged chains and a peer that serves them."""
