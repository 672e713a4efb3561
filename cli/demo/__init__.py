"""The demonstration: a forged Fabric network, its applications and every server on this machine."""
