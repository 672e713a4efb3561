"""Prepares the libraries of a process when it starts."""

import os

from runtime.pymongo_waits import patch_pymongo_waits


def prepare_libraries() -> None:
    """Silence gRPC's own log lines, and repair how PyMongo waits for its conditions.

    Call it once, when the process starts, before gRPC is imported: gRPC reads GRPC_VERBOSITY only
    then. gRPC's lines on stderr are not JSON, and each failure is raised as an error as well. A
    value of GRPC_VERBOSITY that is already set stays. Child processes inherit the variable.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    patch_pymongo_waits()
