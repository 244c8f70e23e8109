"""Checks of the service from this machine. Each one needs what the one before it has found."""

from __future__ import annotations

import email.utils
import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runstream._endpoint import Endpoint, is_exposed
from runstream._tls import CannotDial
from runstream._tls_probe import context_of, probe
from runstream._version import VERSION
from runstream.doctor.checks import Check, State, broken, ok, skipped, warning

TIMEOUT_S = 5.0
_SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse(status=SERVING)
# Times of points come from this machine; the service's retention and liveness use its own.
_SKEW_S = 5.0
_FEW_DAYS = 7.0


def check_service(endpoint: Endpoint, http_url: str) -> Iterator[Check]:
    """Yields all checks of one service."""
    reached = _reach(endpoint.target)
    yield from reached
    if any(check.state is State.BROKEN for check in reached):
        yield skipped("gRPC", "the address cannot be reached")
        yield skipped("token", "the address cannot be reached")
    else:
        tls = _tls_of(endpoint)
        yield tls
        if tls.state is State.BROKEN:
            yield skipped("gRPC", "TLS does not work")
            yield skipped("token", "TLS does not work")
        else:
            yield from _grpc(endpoint)
    yield from _http(http_url, endpoint)


def _reach(address: str) -> list[Check]:
    """Checks name and port of an address of the form host:port. Other forms are only resolved by gRPC."""
    host, _, port = address.rpartition(":")
    if "/" in address or address.startswith(("unix:", "ipv4:", "ipv6:")) or not port.isdecimal():
        return [skipped("address", f"{address} is resolved by gRPC")]
    host = host.strip("[]")
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        return [broken("address", f"the name {host} cannot be resolved: {error}", _hint_of_address("the name"))]
    return [_connect(address, [entry[4] for entry in found])]


def _connect(address: str, resolved: list[Any]) -> Check:
    error: OSError | None = None
    for target in resolved[:4]:
        began_s = time.monotonic()
        try:
            with socket.create_connection(target[:2], timeout=TIMEOUT_S):
                took_ms = (time.monotonic() - began_s) * 1e3
                return ok("address", f"{address} is {target[0]} and accepts connections ({took_ms:.1f} ms)")
        except OSError as refused:
            error = refused
    found = f"{address} is {resolved[0][0]} and accepts no connection: {error}"
    if isinstance(error, ConnectionRefusedError):
        return broken("address", found, "nothing listens there: start the service, or correct the port")
    return broken("address", found, _hint_of_address("the address") + "; a firewall may drop packets to this port")


def _hint_of_address(what: str) -> str:
    return f"correct {what} (--address, RUNSTREAM_ADDRESS, or address= of start_run)"


def _tls_of(endpoint: Endpoint) -> Check:
    found = probe(endpoint)
    if found.problem:
        return broken("TLS", found.problem, "until then points stay in the journal")
    if is_exposed(endpoint):
        return warning("TLS", "none, so others on the network can read the token", "use an address with grpcs://")
    if not endpoint.uses_tls:
        return ok("TLS", "none, and nothing secret is sent over the network")
    if found.certificate is None:
        return skipped("TLS", "not checked, as only gRPC resolves this address")
    until = str(found.certificate.get("notAfter", ""))
    days = (ssl.cert_time_to_seconds(until) - time.time()) / 86_400 if until else _FEW_DAYS
    trusted = f"by {endpoint.tls.ca}" if endpoint.tls.ca else "by this system's authorities"
    words = f"the certificate is trusted {trusted}, and valid until {until}"
    if days < _FEW_DAYS:
        return warning("TLS", f"{words}: {days:.0f} days from now", "renew it; the service reads the new one itself")
    return ok("TLS", words)


def _grpc(endpoint: Endpoint) -> Iterator[Check]:
    import grpc  # here, as the checks before need no gRPC, which may be what is broken

    from runstream._dialing import Dialer
    from runstream.v1 import run_pb2, run_pb2_grpc

    with Dialer().open(endpoint) as channel:
        try:
            check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")  # messages are bytes
            if check(b"", timeout=TIMEOUT_S) != _SERVING:
                yield broken("gRPC", "the service answers that it is not ready", "its page /readyz says why")
                return
        except grpc.RpcError as error:
            yield _failed(endpoint.address, error)
            return
        token = _token(endpoint, channel)
        if token.state is not State.BROKEN:
            try:
                run_pb2_grpc.RunServiceStub(channel).ListExperiments(
                    run_pb2.ListExperimentsRequest(page_size=1), timeout=TIMEOUT_S, metadata=endpoint.metadata()
                )
            except grpc.RpcError as error:
                yield _failed(endpoint.address, error)
                return
            yield ok("gRPC", "the service is ready and reads its database")
        else:
            yield ok("gRPC", "the service is ready")
    yield token


def _token(endpoint: Endpoint, channel: Any) -> Check:
    import grpc

    from runstream import _status
    from runstream._results import to_caller
    from runstream.v1 import access_pb2, access_pb2_grpc

    credentials = endpoint.credentials
    problem = credentials.read(endpoint.address).problem
    if problem:
        return broken("token", problem, "correct that; until then points stay in the journal")
    source = credentials.source or "no token"
    try:
        caller = to_caller(
            access_pb2_grpc.AccessServiceStub(channel).WhoAmI(
                access_pb2.WhoAmIRequest(), timeout=TIMEOUT_S, metadata=endpoint.metadata()
            )
        )
    except grpc.RpcError as error:
        failure = _status.from_rpc_error(error)
        if failure.code == "UNIMPLEMENTED":
            return skipped("token", "a service of this version asks for no token")
        if failure.retry is not _status.Retry.WHEN_ALLOWED:
            return skipped("token", f"it could not be checked: {failure}")
        where = f", workspace {credentials.workspace!r}" if credentials.workspace else ""
        return broken("token", f"{source}{where}: {failure.message}", _status.advice(failure, endpoint))
    if not caller.authentication:
        return ok("token", "the service asks for no token")
    found = f"{source}: {caller.principal!r} may {caller.role} in the workspace {caller.workspace!r}"
    if caller.role == "read":
        return broken("token", found, "ask for a token with the role write, as points are refused with this one")
    return ok("token", found)


def _failed(address: str, error: Any) -> Check:
    code, details = error.code().name, " ".join((error.details() or "").split())[:200]
    found = f"{address} answers {code}: {details}"
    if code == "UNIMPLEMENTED":
        return broken("gRPC", found, "another gRPC service listens there; correct the port")
    if code == "UNAUTHENTICATED" or code == "PERMISSION_DENIED":
        return broken("gRPC", found, "the service, or a gateway in front of it, needs another token")
    if "http1" in details.lower() or "HTTP/1" in details:
        hint = "an HTTP server listens there; use the port for gRPC, which is 50051 by default"
        return broken("gRPC", found, hint)
    if code == "UNAVAILABLE" and ("connection reset" in details.lower() or "socket closed" in details.lower()):
        return broken("gRPC", found, "another kind of server listens there; correct the port")
    if code == "DEADLINE_EXCEEDED":
        return broken("gRPC", found, "what listens there accepts connections, but is not gRPC, or is overloaded")
    return broken("gRPC", found, "see the service's log and its page /readyz")


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    began_s: float  # time.time() before and after
    ended_s: float


def _http(url: str, endpoint: Endpoint) -> Iterator[Check]:
    try:
        answer = _get(f"{url}/healthz", endpoint)
    except OSError as error:
        reason = getattr(error, "reason", error)
        yield warning(
            "HTTP",
            f"{url} cannot be reached: {reason}",
            "only MLflow's scripts and the web UI need it: correct --http or RUNSTREAM_MLFLOW_HTTP_ADDRESS",
        )
        yield skipped("versions", f"client {VERSION}; the service's version is read over HTTP")
        yield skipped("clock", "it is read over HTTP")
        return
    server_version = _version_of(answer)
    if not server_version:
        yield warning(
            "HTTP",
            f"{url} answers with status {answer.status}, but not as runstream does",
            "another server listens there: correct --http or RUNSTREAM_MLFLOW_HTTP_ADDRESS",
        )
        return
    yield _ready(url, endpoint)
    yield _versions(server_version)
    yield _clock(answer)


def _get(url: str, endpoint: Endpoint) -> _Answer:
    """Gets a page as gRPC connects: without a proxy, and with the same files for TLS. Raises OSError if there is no
    answer."""
    began_s = time.time()
    try:
        https = urllib.request.HTTPSHandler(context=context_of(endpoint.tls))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), https)
        with opener.open(url, timeout=TIMEOUT_S) as response:
            return _Answer(response.status, dict(response.headers), response.read(65_536), began_s, time.time())
    except urllib.error.HTTPError as error:
        with error:
            return _Answer(error.code, dict(error.headers), error.read(65_536), began_s, time.time())
    except (ValueError, EOFError, CannotDial) as error:
        raise OSError(str(error)) from error


def _version_of(answer: _Answer) -> str:
    try:
        return str(json.loads(answer.body)["version"])
    except (ValueError, KeyError, TypeError):
        return ""


def _ready(url: str, endpoint: Endpoint) -> Check:
    try:
        answer = _get(f"{url}/readyz", endpoint)
        problems = ", ".join(map(str, json.loads(answer.body).get("problems", [])))
    except (OSError, ValueError, AttributeError) as error:
        return warning("HTTP", f"{url}/readyz: {error}", "see the service's log")
    if answer.status != 200:
        return broken("HTTP", f"{url} answers, but is not ready: {problems}", "see the service's log")
    return ok("HTTP", f"{url} is ready")


def _versions(server: str) -> Check:
    found = f"client {VERSION}, service {server}"
    if VERSION.split(".")[:2] == server.split(".")[:2]:
        return ok("versions", found)
    return warning("versions", found, "update the older one; only neighbouring releases are known to work together")


def _clock(answer: _Answer) -> Check:
    try:
        date_s = email.utils.parsedate_to_datetime(
            next(value for name, value in answer.headers.items() if name.lower() == "date")
        ).timestamp()
    except (StopIteration, TypeError, ValueError):
        return skipped("clock", "the answer has no date")
    # The header has whole seconds, and was written some time between request and answer.
    ahead_s = (answer.began_s + answer.ended_s) / 2 - (date_s + 0.5)
    margin_s = 0.5 + (answer.ended_s - answer.began_s) / 2
    if abs(ahead_s) <= max(_SKEW_S, margin_s):
        within_s = max(1.0, abs(ahead_s) + margin_s)
        return ok("clock", f"the service's clock and this machine's differ by at most {within_s:.0f} s")
    word = "ahead of" if ahead_s > 0 else "behind"
    return warning(
        "clock",
        f"this machine's clock is {abs(ahead_s):,.0f} s {word} the service's",
        "points have the times of this machine, so charts by time are shifted, and retention acts earlier or later; "
        "set both clocks by NTP",
    )
