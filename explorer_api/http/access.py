"""Who asks, and whether he may: client addresses behind proxies, bearer tokens, pages of other origins."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from aiohttp import web

from explorer_api.http.problems import ProblemError

OPEN_PATHS: Final = frozenset({"/live", "/ready"})
"""What needs no token and knows no limit: the questions of those who keep the process running."""

_EXPOSED: Final = "Ledger-Height, Ledger-Peer-Height, X-Request-ID, ETag, Retry-After"
_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "Authorization, If-None-Match, Last-Event-ID, X-Request-ID",
    "Access-Control-Max-Age": "86400",
}

_REMEMBERED: Final = 1024
"""Addresses. To read one takes as long as a third of an answer from memory."""


class ClientAddresses:
    """Tells the address of a client. `X-Forwarded-For` is believed as far as proxies of these networks wrote it."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        self._trusted = [ip_network(network) for network in trusted_proxies]

    def address(self, request: web.BaseRequest) -> str:
        """The client's address as text, `unknown` where the connection has none."""
        client = request.remote or ""
        if self._trusted:
            for hop in reversed(",".join(request.headers.getall("X-Forwarded-For", [])).split(",")):
                if not self._is_trusted(client) or _read_address(hop) is None:
                    break  # not written by a proxy
                client = hop
        return _canonical(client)

    def _is_trusted(self, client: str) -> bool:
        address = _read_address(client)
        return address is not None and any(address in network for network in self._trusted)


@lru_cache(maxsize=_REMEMBERED)
def _canonical(text: str) -> str:
    """An address, which can be written in many ways, in one."""
    return str(_read_address(text) or "unknown")


@lru_cache(maxsize=_REMEMBERED)
def _read_address(text: str) -> IPv4Address | IPv6Address | None:
    """The same for whatever way to write it; None for what is no address."""
    try:
        address = ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


@lru_cache(maxsize=_REMEMBERED)
def is_loopback(address: str) -> bool:
    """Whether the address is this machine's own."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def token_digest(token: str) -> bytes:
    """What is kept of a bearer token."""
    return sha256(token.encode()).digest()


def check_token(request: web.BaseRequest, digests: frozenset[bytes]) -> None:
    """Raises `ProblemError` unless the request has one of the tokens; a digest tells nothing by how long it takes."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    given = sha256(token.strip().encode(errors="surrogateescape")).digest()
    if scheme.lower() != "bearer" or given not in digests:
        raise ProblemError(
            401,
            "unauthorized",
            "Unauthorized",
            "This API needs a bearer token, and the request has none that is valid.",
            "Send the header Authorization: Bearer TOKEN; the operator gives out tokens.",
            headers={"WWW-Authenticate": 'Bearer realm="kindledger"'},
        )


def cors_headers(request: web.BaseRequest, origins: frozenset[str]) -> dict[str, str]:
    """What lets a page of another origin read the answer; nothing unless that origin is allowed."""
    if not origins:
        return {}
    origin = request.headers.get("Origin")
    if "*" in origins:
        return {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": _EXPOSED}
    if origin not in origins:
        return {"Vary": "Origin"}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": _EXPOSED,
        "Vary": "Origin",
    }


def is_preflight(request: web.BaseRequest) -> bool:
    """Whether a browser asks what a page may do."""
    return (
        request.method == "OPTIONS"
        and "Origin" in request.headers
        and _ASKED_METHOD in request.headers
    )


_ASKED_METHOD: Final = "Access-Control-Request-Method"


def preflight_response(allowed: Mapping[str, str]) -> web.Response:
    """The answer to a browser's question; without the right headers it lets the page do nothing."""
    granted = "Access-Control-Allow-Origin" in allowed
    return web.Response(status=204, headers={**allowed, **(_PREFLIGHT if granted else {})})
