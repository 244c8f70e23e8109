"""Translates gRPC errors: grpc.RpcError with its google.rpc details -> `Failure` -> an exception of `errors`.

This is also the one place that decides whether a failed call is retried, and where: streams, unary calls and `Client`
all use `Failure.retry`. proto/runstream/v1 documents the same rules.
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from runstream import _settings, errors
from runstream._endpoint import Endpoint
from runstream.v1 import status_pb2

_DETAILS_KEY = "grpc-status-details-bin"
_NO_WORKSPACE = "WORKSPACE_NOT_FOUND"
TLS_FAILED = "TLS_FAILED"  # a reason that no service sends: this client found out what is wrong with the connection


class Retry(enum.Enum):
    """What helps after a failure."""

    ELSEWHERE = "a retry over a new connection, which may reach another replica"
    HERE = "a retry over the same connection"
    A_FEW_TIMES = "a few retries over the same connection: a bug may affect this one call"
    WHEN_ALLOWED = "other credentials, or other rights: a token may be renewed, and a right granted"
    NEVER = "nothing: the same call fails again"


# The service, or the caller's workspace, is at a limit; the message says which, and what to do.
_TOO_MUCH = ("OVERLOADED", "LIMIT_REACHED")

_RETRY: dict[str, Retry] = {
    # This replica drains, has lost its database, is unreachable, or does not answer.
    "UNAVAILABLE": Retry.ELSEWHERE,
    "DEADLINE_EXCEEDED": Retry.ELSEWHERE,
    # A newer stream took over, a read was too slow, or something on the way closed the connection.
    "ABORTED": Retry.HERE,
    "CANCELLED": Retry.HERE,
    "INTERNAL": Retry.A_FEW_TIMES,
    "UNKNOWN": Retry.A_FEW_TIMES,
    "DATA_LOSS": Retry.A_FEW_TIMES,
    "INVALID_ARGUMENT": Retry.NEVER,
    "NOT_FOUND": Retry.NEVER,
    "ALREADY_EXISTS": Retry.NEVER,
    "FAILED_PRECONDITION": Retry.NEVER,
    "OUT_OF_RANGE": Retry.NEVER,
    "UNIMPLEMENTED": Retry.NEVER,
    "PERMISSION_DENIED": Retry.WHEN_ALLOWED,
    "UNAUTHENTICATED": Retry.WHEN_ALLOWED,
    # A message above a size limit of gRPC. `Failure.retry` distinguishes it from an overloaded service.
    "RESOURCE_EXHAUSTED": Retry.NEVER,
}


@dataclass(frozen=True)
class Failure:
    """Why a call ended. `code` is the status name; `reason` and `field` come from ErrorInfo, or are empty."""

    code: str
    message: str
    reason: str = ""
    field: str = ""
    retry_after_s: float | None = None

    @property
    def retry(self) -> Retry:
        """Whether to make the call again, and where."""
        if self.code == "RESOURCE_EXHAUSTED" and (self.reason in _TOO_MUCH or self.retry_after_s is not None):
            return Retry.ELSEWHERE
        if self.reason == _NO_WORKSPACE:
            return Retry.WHEN_ALLOWED
        return _RETRY.get(self.code, Retry.A_FEW_TIMES)

    @property
    def stream_goes_elsewhere(self) -> bool:
        """Whether the next stream should go to another replica. A stream that the network has cut may end as INTERNAL
        or UNKNOWN instead of UNAVAILABLE."""
        return self.retry is Retry.ELSEWHERE or self.code in ("INTERNAL", "UNKNOWN")

    def __str__(self) -> str:
        label = self.code if self.reason in ("", self.code) else f"{self.code} {self.reason}"
        where = f" (field {self.field})" if self.field else ""
        return f"{label}: {self.message}{where}"


def from_rpc_error(error: grpc.RpcError) -> Failure:
    """Reads a gRPC error with its details; never raises, whatever the peer sent."""
    code = error.code() if hasattr(error, "code") else None
    name = code.name if isinstance(code, grpc.StatusCode) else "UNKNOWN"
    message = (error.details() if hasattr(error, "details") else "") or str(error)
    info, retry = _details(error)
    return Failure(
        code=name,
        message=message,
        reason=info.reason,
        field=info.metadata.get("field", ""),
        retry_after_s=retry,
    )


def from_status(status: status_pb2.RpcStatus) -> Failure:
    """Reads a status that came in a message; never raises, whatever the peer sent."""
    name = next((code.name for code in grpc.StatusCode if code.value[0] == status.code), "UNKNOWN")
    info, retry = _read_details(status)
    return Failure(name, status.message, info.reason, info.metadata.get("field", ""), retry)


def _details(error: grpc.RpcError) -> tuple[status_pb2.ErrorInfo, float | None]:
    try:
        return _read_details(status_pb2.RpcStatus.FromString(_details_bytes(error)))
    except (AttributeError, DecodeError, TypeError, ValueError):
        return status_pb2.ErrorInfo(), None  # a proxy may have sent other bytes; then the status code alone decides


def _read_details(status: status_pb2.RpcStatus) -> tuple[status_pb2.ErrorInfo, float | None]:
    info, retry = status_pb2.ErrorInfo(), None
    try:
        for item in status.details:
            kind = item.type_url.rpartition("/")[2]
            if kind == "google.rpc.ErrorInfo":
                info = status_pb2.ErrorInfo.FromString(item.value)
            elif kind == "google.rpc.RetryInfo":
                delay = status_pb2.RetryInfo.FromString(item.value).retry_delay
                retry = max(0.0, delay.seconds + delay.nanos / 1e9)
    except (AttributeError, DecodeError, TypeError, ValueError):
        pass  # then the status code alone decides
    return info, retry


def _details_bytes(error: Any) -> bytes:
    return next((value for key, value in error.trailing_metadata() or () if key == _DETAILS_KEY), b"")


_EXCEPTIONS: dict[str, type[errors.RunstreamError]] = {
    "INVALID_ARGUMENT": errors.InvalidArgument,
    "OUT_OF_RANGE": errors.InvalidArgument,
    "NOT_FOUND": errors.NotFound,
    "ALREADY_EXISTS": errors.AlreadyExists,
    "FAILED_PRECONDITION": errors.FailedPrecondition,
    "UNAUTHENTICATED": errors.Unauthenticated,
    "PERMISSION_DENIED": errors.PermissionDenied,
    "UNAVAILABLE": errors.Unavailable,
    "ABORTED": errors.Unavailable,
    "RESOURCE_EXHAUSTED": errors.Overloaded,
    "DEADLINE_EXCEEDED": errors.DeadlineExceeded,
    "CANCELLED": errors.Unavailable,
}

_ADVICE = {
    "PERMISSION_DENIED": (
        "Ask for a role that may do this, or use another token (RUNSTREAM_TOKEN, RUNSTREAM_TOKEN_FILE or `runstream "
        "login`)"
    ),
    "UNIMPLEMENTED": "What listens there is not a runstream service, or one that is older than this client",
    "RESOURCE_EXHAUSTED": "A message is larger than the service, or a proxy in between, accepts",
    "UNAVAILABLE": "Is the service running there? The address comes from address=, else RUNSTREAM_ADDRESS",
    "DEADLINE_EXCEEDED": "Use a larger timeout=, or ask for less",
    "FAILED_PRECONDITION": "Restore it first",
}


def advice(failure: Failure, endpoint: Endpoint | None = None) -> str:
    """A sentence that says what a user can do; empty if there is nothing to do, or the message says it. `endpoint` is
    the one that the call went to."""
    if failure.reason in (*_TOO_MUCH, TLS_FAILED):
        return ""
    if failure.code == "UNAUTHENTICATED":
        return _about_token(endpoint)
    if failure.reason == _NO_WORKSPACE:
        return "Correct the workspace (RUNSTREAM_WORKSPACE, or that in runstream.toml), or use a token of it"
    return _ADVICE.get(failure.code, "")


def _about_token(endpoint: Endpoint | None) -> str:
    if endpoint is None or not endpoint.credentials.has_token:
        return "Set a token: RUNSTREAM_TOKEN, RUNSTREAM_TOKEN_FILE, or `runstream login`"
    if problem := endpoint.credentials.read(endpoint.address).problem:
        return problem[0].upper() + problem[1:]
    return f"{endpoint.credentials.source[0].upper()}{endpoint.credentials.source[1:]} is not valid here: get a new one"


def explained(failure: Failure, endpoint: Endpoint) -> Failure:
    """A failure that says what is wrong with TLS, if that is why there is no connection; else the same failure. Takes a
    few seconds at most."""
    if failure.code != "UNAVAILABLE" or failure.reason:
        return failure  # the service has answered with a reason
    from runstream._tls_probe import probe  # here, as loading OpenSSL takes time

    problem = probe(endpoint).problem
    return Failure(failure.code, problem, TLS_FAILED) if problem else failure


def through_proxy() -> str:
    """The part of a message about a failed connection that names the HTTP proxy; empty if none is used."""
    variable = _settings.http_proxy_variable(os.environ)
    return f" through the proxy in ${variable} (RUNSTREAM_HTTP_PROXY is set)" if variable else ""


def to_exception(failure: Failure, endpoint: Endpoint) -> errors.RunstreamError:
    """The exception for a failed call."""
    kind = _EXCEPTIONS.get(failure.code, errors.ServiceError)
    if failure.code == "RESOURCE_EXHAUSTED" and failure.retry is Retry.NEVER:
        kind = errors.InvalidArgument  # too large, in either direction
    what_to_do = advice(failure, endpoint)
    hint = f". {what_to_do}" if what_to_do and failure.retry is not Retry.HERE else ""
    return kind(
        f"{failure} [service at {endpoint.address}{through_proxy()}{hint}]",
        code=failure.code,
        reason=failure.reason,
        field=failure.field,
        retry_after_s=failure.retry_after_s,
    )
