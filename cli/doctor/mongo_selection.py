"""Explains why no MongoDB server that accepts writes was found."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from cli.doctor.checks import FailedStepError
from cli.doctor.network import connect, resolve
from cli.errors import Exit

SELECTION: Final = "selection"
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"

Hello: TypeAlias = Mapping[str, Any]
"""A server's answer to the command `hello`, which needs no login."""


async def explain_no_server(
    parsed: Mapping[str, Any], reachable: Sequence[tuple[str, int]], limit_s: float
) -> FailedStepError:
    """Return why none of the servers that accept connections accepts writes."""
    if not reachable:
        return FailedStepError(
            SELECTION,
            "no server answers at the local socket in mongo.uri",
            "Check the path of the socket, and that mongod runs.",
            Exit.UNAVAILABLE,
        )
    results = await asyncio.gather(*(_hello(parsed, server, limit_s) for server in reachable))
    answers = [result for result in results if not isinstance(result, PyMongoError)]
    if not answers:
        errors = [str(result) for result in results if isinstance(result, PyMongoError)]
        return _explain_no_answer(parsed["options"], errors)
    if any(answer.get("isreplicaset") for answer in answers):
        return _wrong(
            "the server waits to become a member of a replica set",
            "Initiate the replica set once: rs.initiate().",
        )
    configured = parsed["options"].get("replicaSet")
    names = {answer.get("setName") for answer in answers}
    if configured is not None and configured not in names:
        found = ", ".join(
            f"replica set {name}" if name else "a server without replica set" for name in names
        )
        return _wrong(
            f"mongo.uri says replicaSet={configured}, found {found}", "Correct replicaSet."
        )
    unreachable = await _unreachable_members(answers, limit_s)
    if unreachable:
        return FailedStepError(
            SELECTION,
            f"the replica set has members that this machine cannot reach: {', '.join(unreachable)}",
            "Clients connect to the names in rs.conf(): make them known and reachable here.",
            Exit.UNAVAILABLE,
        )
    return FailedStepError(
        SELECTION,
        "no server accepts writes: there is no primary",
        "Look at rs.status().",
        Exit.UNAVAILABLE,
    )


def _explain_no_answer(options: Mapping[str, Any], errors: Sequence[str]) -> FailedStepError:
    """Return why no server that accepts connections answered the command `hello`."""
    untrusted = [error for error in errors if _UNTRUSTED in error]
    if untrusted:
        return _explain_untrusted(options, _reason(untrusted[0]))
    if options.get("tls"):
        return _wrong(
            "the servers accept connections, but no TLS session with MongoDB: "
            f"{_reason(errors[0])}",
            "Check the port, and that the server uses TLS; if it demands a client certificate, "
            "name its file with tlsCertificateKeyFile in mongo.uri.",
        )
    return _wrong(
        "the servers accept connections, but do not answer as MongoDB",
        "Check the port; a server that demands TLS needs tls=true (and tlsCAFile) in mongo.uri.",
    )


def _explain_untrusted(options: Mapping[str, Any], reason: str) -> FailedStepError:
    if "mismatch" in reason:
        return _wrong(
            f"the server's certificate is for another host: {reason}",
            "Use a host name in mongo.uri that the certificate has.",
        )
    if "expired" in reason or "not yet valid" in reason:
        return _wrong(
            f"the server's certificate is not valid now: {reason}",
            "Renew it; if its dates are right, check this machine's clock.",
        )
    if "tlsCAFile" in options:
        return _wrong(
            f"the server's certificate was not issued by a CA in tlsCAFile: {reason}",
            f"Put the certificate of the CA that issued it into {options['tlsCAFile']}.",
        )
    return _wrong(
        f"the server's certificate was not issued by a CA that this machine trusts: {reason}",
        "Add tlsCAFile=PATH to mongo.uri, the certificate of the CA that issued it.",
    )


def _reason(error: str) -> str:
    """Return the first error of the driver's text, without the topology that follows it."""
    return error.partition(" (configured timeouts")[0].partition(", Timeout:")[0]


def _wrong(detail: str, advice: str) -> FailedStepError:
    return FailedStepError(SELECTION, detail, advice, Exit.CONFIGURATION)


async def _hello(
    parsed: Mapping[str, Any], server: tuple[str, int], limit_s: float
) -> Hello | PyMongoError:
    """Return the server's answer to the command `hello`, or the error of the driver."""
    options = {
        name: value
        for name, value in parsed["options"].items()
        if name.lower().startswith(("tls", "ssl"))
    }
    options |= dict.fromkeys(("serverSelectionTimeoutMS", "connectTimeoutMS"), int(limit_s * 1000))
    host, port = server
    try:
        async with AsyncMongoClient[dict[str, Any]](
            host, port, directConnection=True, **options
        ) as client:
            return await client.admin.command("hello")
    except PyMongoError as error:
        return error


async def _unreachable_members(answers: Iterable[Hello], limit_s: float) -> list[str]:
    members = sorted({str(host) for answer in answers for host in answer.get("hosts", ())})
    failures = []
    for member in members:
        host, _, port = member.rpartition(":")
        try:
            await resolve(host, int(port), limit_s)
            await connect(host, int(port), limit_s)
        except FailedStepError as error:
            failures.append(error.detail)
    return failures
