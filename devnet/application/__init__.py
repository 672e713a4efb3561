"""The simulated KindLedger application: writes a business row for each transaction it submits."""

from devnet.application.business_application import BusinessApplication

__all__ = ["BusinessApplication"]
