"""Access control: client addresses behind proxies, bearer tokens, and CORS."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from aiohttp import web

from explorer_api.http.problems import ProblemError

OPEN_PATHS: Final = frozenset({"/live", "/ready"})
"""The paths that supervisors probe: they need no token and have no rate limit."""

_EXPOSED_HEADERS: Final = "Ledger-Height, Ledger-Peer-Height, X-Request-ID, ETag, Retry-After"
_PREFLIGHT_HEADERS: Final = {
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "Authorization, If-None-Match, Last-Event-ID, X-Request-ID",
    "Access-Control-Max-Age": "86400",
}

_CACHED_ADDRESSES: Final = 1024
"""The number of cached addresses: parsing one takes a third of the time of a cached response."""


class ClientAddresses:
    """Determines the addresses of clients.

    `X-Forwarded-For` is trusted as far as proxies in the trusted networks wrote it.
    """

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        self._trusted = [ip_network(network) for network in trusted_proxies]

    def address(self, request: web.BaseRequest) -> str:
        """Return the client's address as text; `unknown` if the connection has none."""
        client = request.remote or ""
        if self._trusted:
            for hop in reversed(",".join(request.headers.getall("X-Forwarded-For", [])).split(",")):
                if not self._is_trusted(client) or _parse_address(hop) is None:
                    break  # no proxy wrote the rest
                client = hop
        return _canonical(client)

    def _is_trusted(self, client: str) -> bool:
        address = _parse_address(client)
        return address is not None and any(address in network for network in self._trusted)


@lru_cache(maxsize=_CACHED_ADDRESSES)
def _canonical(text: str) -> str:
    """Return the canonical spelling of an address."""
    return str(_parse_address(text) or "unknown")


@lru_cache(maxsize=_CACHED_ADDRESSES)
def _parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address, equal for all spellings; None if the text is no address."""
    try:
        address = ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


@lru_cache(maxsize=_CACHED_ADDRESSES)
def is_loopback(address: str) -> bool:
    """Return whether the address is a loopback address."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def token_digest(token: str) -> bytes:
    """Return the digest by which a bearer token is stored and compared."""
    return sha256(token.encode()).digest()


def check_token(request: web.BaseRequest, digests: frozenset[bytes]) -> None:
    """Raise `ProblemError` unless the request has one of the tokens.

    The time of comparing digests reveals nothing about the tokens.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    digest = sha256(token.strip().encode(errors="surrogateescape")).digest()
    if scheme.lower() != "bearer" or digest not in digests:
        raise ProblemError(
            401,
            "unauthorized",
            "Unauthorized",
            "The request has no valid bearer token.",
            "Send the header Authorization: Bearer TOKEN; the operator gives out tokens.",
            headers={"WWW-Authenticate": 'Bearer realm="kindledger"'},
        )


def cors_headers(request: web.BaseRequest, origins: frozenset[str]) -> dict[str, str]:
    """Return the headers that let a page of an allowed origin read the response."""
    if not origins:
        return {}
    origin = request.headers.get("Origin")
    if "*" in origins:
        return {
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Expose-Headers": _EXPOSED_HEADERS,
        }
    if origin not in origins:
        return {"Vary": "Origin"}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": _EXPOSED_HEADERS,
        "Vary": "Origin",
    }


def is_preflight(request: web.BaseRequest) -> bool:
    """Return whether the request is a CORS preflight request of a browser."""
    return (
        request.method == "OPTIONS"
        and "Origin" in request.headers
        and "Access-Control-Request-Method" in request.headers
    )


def preflight_response(headers: Mapping[str, str]) -> web.Response:
    """Return the response to a preflight request; `headers` has those of `cors_headers`."""
    is_allowed = "Access-Control-Allow-Origin" in headers
    return web.Response(
        status=204, headers={**headers, **(_PREFLIGHT_HEADERS if is_allowed else {})}
    )
