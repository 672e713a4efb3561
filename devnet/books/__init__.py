"""KindLedger's applications: they note in PostgreSQL what they submit to the forged network."""

from devnet.books.bookkeeper import Bookkeeper

__all__ = ["Bookkeeper"]
