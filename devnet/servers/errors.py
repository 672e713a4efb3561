"""Errors of the embedded servers. Each message says what happened, what it means and what to do."""


class ServerError(Exception):
    """An embedded server could not be found, started or used."""


class ProgramNotFoundError(ServerError):
    """The program of a server was not installed, could not be downloaded and is not on PATH."""


class DownloadFailedError(ServerError):
    """The wheel with a server's program could not be downloaded, or has another hash."""
