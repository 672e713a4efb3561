"""Writes the demo's configuration file."""

import json
from collections.abc import Mapping
from pathlib import Path

_TEMPLATE = """\
# Written at each start of `kindledger demo`, for the servers of this demo.
[mongo]
uri = {mongo}

[postgres]
dsn = {postgres}

[redis]
url = {redis}

[api]
port = {port}

[fabric]
peers = [
    {{ name = "peer0.org1", address = {peer}, msp_id = "Org1MSP", tls_ca = {ca} }},
    {{ name = "peer0.org2", address = {second_peer}, msp_id = "Org2MSP", tls_ca = {ca} }},
]
msp_id = "Org1MSP"
certificate = {certificate}
key = {key}
client_tls_certificate = {tls_certificate}
client_tls_key = {tls_key}

# A block settles rows when both organisations gave it.
[trust]
peers_required = 2

[channels.{channel}]

[reconcile]
sweep_s = 5
grace_s = 20
"""


def write_configuration(path: Path, values: Mapping[str, str | int | Path]) -> Path:
    """Write the configuration file with these values, readable by its owner only."""
    texts = {
        name: str(value) if isinstance(value, int) else json.dumps(str(value), ensure_ascii=False)
        for name, value in values.items()
    }
    return write_secret(path, _TEMPLATE.format_map(texts))


def write_secret(path: Path, text: str) -> Path:
    """Write a file that only its owner can read; return its path."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    return path
