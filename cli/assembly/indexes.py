"""The error that commands raise when an index is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from pymongo.errors import PyMongoError

from cli.errors import UnavailableError
from ledger.mongodb.required_indexes import is_index_missing


@contextmanager
def index_failures() -> Iterator[None]:
    """Raise `UnavailableError` if a query inside fails because its index does not exist."""
    try:
        yield
    except PyMongoError as error:
        if not is_index_missing(error):
            raise
        raise UnavailableError(
            "an index that the command needs does not exist yet. `kindledger run` and `import` "
            "build missing indexes; `kindledger doctor` names them"
        ) from error
