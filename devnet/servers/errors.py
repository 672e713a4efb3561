"""What can go wrong with an embedded server."""


class ServerError(Exception):
    """An embedded server could not be found, started or used; the text says why and what to do next."""


class ProgramNotFoundError(ServerError):
    """No program of this server was found: not installed, not fetched, not on PATH."""


class DownloadFailedError(ServerError):
    """A program's archive could not be downloaded, or is not the pinned one."""
