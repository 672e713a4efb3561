"""The command `kindledger`: reads the configuration and puts the parts together. Nothing imports it."""

import os

# Read when gRPC is first imported. Its own lines on stderr are no JSON, and what matters comes as an error anyway.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
