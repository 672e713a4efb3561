"""KindLedger's applications: they note in PostgreSQL what they submit to the forged network."""

from devnet.application.business_application import BusinessApplication

__all__ = ["BusinessApplication"]
