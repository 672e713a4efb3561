"""The demo: a simulated Fabric network, its applications and every server on this machine."""
