"""Checks of the service, from this machine: each goes one step further than the one before."""

from __future__ import annotations

import email.utils
import importlib.metadata
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runstream._endpoint import Endpoint
from runstream.doctor.checks import Check, broken, ok, skipped, warning

TIMEOUT_S = 5.0
_SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse(status=SERVING)
# Times of points come from this machine; the service's retention and liveness use its own.
_SKEW_S = 5.0


def check_service(address: str, http_url: str) -> Iterator[Check]:
    """All checks of one service."""
    reached = _reach(address)
    yield from reached
    if any(check.state.value == "broken" for check in reached):
        yield skipped("gRPC", "the address cannot be reached")
    else:
        yield from _grpc(address)
    yield from _http(http_url)


def client_version() -> str:
    """Of the installed package."""
    return importlib.metadata.version("runstream")


def _reach(address: str) -> list[Check]:
    """Name and port, for an address of the form host:port; gRPC resolves the other forms itself."""
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
                return ok("address", f"{address} is {target[0]} and takes connections ({took_ms:.1f} ms)")
        except OSError as refused:
            error = refused
    found = f"{address} is {resolved[0][0]} and takes no connection: {error}"
    if isinstance(error, ConnectionRefusedError):
        return broken("address", found, "nothing listens there: start the service, or correct the port")
    return broken("address", found, _hint_of_address("the address") + "; a firewall may drop packets to this port")


def _hint_of_address(what: str) -> str:
    return f"correct {what} (--address, RUNSTREAM_ADDRESS, or address= of start_run)"


def _grpc(address: str) -> Iterator[Check]:
    import grpc  # late: what is checked before needs none of it, and it may be what is broken

    from runstream._dialing import Dialer
    from runstream.v1 import run_pb2, run_pb2_grpc

    with Dialer().open(Endpoint(address)) as channel:
        try:
            check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")  # messages are bytes
            if check(b"", timeout=TIMEOUT_S) != _SERVING:
                yield broken("gRPC", "the service answers that it is not ready", "its page /readyz says what it lacks")
                return
            run_pb2_grpc.RunServiceStub(channel).ListExperiments(
                run_pb2.ListExperimentsRequest(page_size=1), timeout=TIMEOUT_S
            )
        except grpc.RpcError as error:
            yield _failed(address, error)
            return
    yield ok("gRPC", "the service is ready and reads its database")


def _failed(address: str, error: Any) -> Check:
    code, details = error.code().name, " ".join((error.details() or "").split())[:200]
    found = f"{address} answers {code}: {details}"
    if code == "UNIMPLEMENTED":
        return broken("gRPC", found, "another gRPC service listens there; correct the port")
    if code == "UNAUTHENTICATED" or code == "PERMISSION_DENIED":
        return broken("gRPC", found, "the service, or a gateway before it, wants another token")
    if "http1" in details.lower() or "HTTP/1" in details:
        hint = "an HTTP server listens there; give the port for gRPC, which is 50051 by default"
        return broken("gRPC", found, hint)
    if code == "UNAVAILABLE" and ("connection reset" in details.lower() or "socket closed" in details.lower()):
        hint = "if the service is behind TLS, connect to the port without it; otherwise correct the port"
        return broken("gRPC", found, hint)
    if code == "DEADLINE_EXCEEDED":
        return broken("gRPC", found, "something takes connections there and does not speak gRPC, or is overloaded")
    return broken("gRPC", found, "the service's log and its page /readyz say more")


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    began_s: float  # time.time() before and after
    ended_s: float


def _http(url: str) -> Iterator[Check]:
    try:
        answer = _get(f"{url}/healthz")
    except OSError as error:
        reason = getattr(error, "reason", error)
        yield warning(
            "HTTP",
            f"{url} cannot be reached: {reason}",
            "only MLflow's scripts and the web UI need it: correct --http or RUNSTREAM_MLFLOW_HTTP_ADDRESS",
        )
        yield skipped("versions", f"client {client_version()}; the service's is read over HTTP")
        yield skipped("clock", "it is read over HTTP")
        return
    version = _version_of(answer)
    if not version:
        yield warning(
            "HTTP",
            f"{url} answers with status {answer.status}, but not as runstream does",
            "another server listens there: correct --http or RUNSTREAM_MLFLOW_HTTP_ADDRESS",
        )
        return
    yield _ready(url)
    yield _versions(version)
    yield _clock(answer)


def _get(url: str) -> _Answer:
    """Without a proxy, as gRPC connects. OSError if there is no answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    began_s = time.time()
    try:
        with opener.open(url, timeout=TIMEOUT_S) as response:
            return _Answer(response.status, dict(response.headers), response.read(65_536), began_s, time.time())
    except urllib.error.HTTPError as error:
        with error:
            return _Answer(error.code, dict(error.headers), error.read(65_536), began_s, time.time())
    except (ValueError, EOFError) as error:
        raise OSError(str(error)) from error


def _version_of(answer: _Answer) -> str:
    try:
        return str(json.loads(answer.body)["version"])
    except (ValueError, KeyError, TypeError):
        return ""


def _ready(url: str) -> Check:
    try:
        answer = _get(f"{url}/readyz")
        problems = ", ".join(map(str, json.loads(answer.body).get("problems", [])))
    except (OSError, ValueError, AttributeError) as error:
        return warning("HTTP", f"{url}/readyz: {error}", "the service's log says more")
    if answer.status != 200:
        return broken("HTTP", f"{url} answers, but is not ready: {problems}", "the service's log says more")
    return ok("HTTP", f"{url} is ready")


def _versions(server: str) -> Check:
    client = client_version()
    found = f"client {client}, service {server}"
    if client.split(".")[:2] == server.split(".")[:2]:
        return ok("versions", found)
    return warning("versions", found, "update the older one; releases next to each other work together")


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
        return ok("clock", f"the service's and this machine's differ by at most {within_s:.0f} s")
    word = "ahead of" if ahead_s > 0 else "behind"
    return warning(
        "clock",
        f"this machine's clock is {abs(ahead_s):,.0f} s {word} the service's",
        "points have the times of this machine: charts by time are shifted, and retention acts earlier or later; set "
        "both clocks by NTP",
    )
