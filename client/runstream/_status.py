"""Foreign errors stop here: grpc.RpcError with its google.rpc details becomes a `Failure`, and that an exception."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from runstream import errors
from runstream.v1 import status_pb2

_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True)
class Failure:
    """Why a call ended. `code` is the status name; `reason` and `field` come from ErrorInfo, or are empty."""

    code: str
    message: str
    reason: str = ""
    field: str = ""
    retry_after_s: float | None = None
    metadata: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        label = f"{self.code} {self.reason}".strip()
        where = f" (field {self.field})" if self.field else ""
        return f"{label}: {self.message}{where}"

    def detail(self, key: str) -> str:
        """One entry of ErrorInfo.metadata, or an empty string."""
        return dict(self.metadata).get(key, "")


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
        metadata=tuple(info.metadata.items()),
    )


def _details(error: grpc.RpcError) -> tuple[status_pb2.ErrorInfo, float | None]:
    info, retry = status_pb2.ErrorInfo(), None
    try:
        for item in status_pb2.RpcStatus.FromString(_details_bytes(error)).details:
            kind = item.type_url.rpartition("/")[2]
            if kind == "google.rpc.ErrorInfo":
                info = status_pb2.ErrorInfo.FromString(item.value)
            elif kind == "google.rpc.RetryInfo":
                delay = status_pb2.RetryInfo.FromString(item.value).retry_delay
                retry = max(0.0, delay.seconds + delay.nanos / 1e9)
    except (AttributeError, DecodeError, TypeError, ValueError):
        pass  # a proxy in between may answer with anything; the status code alone still decides
    return info, retry


def _details_bytes(error: Any) -> bytes:
    return next((value for key, value in error.trailing_metadata() or () if key == _DETAILS_KEY), b"")


_EXCEPTIONS: dict[str, type[errors.RunstreamError]] = {
    "INVALID_ARGUMENT": errors.InvalidArgument,
    "OUT_OF_RANGE": errors.InvalidArgument,
    "NOT_FOUND": errors.NotFound,
    "ALREADY_EXISTS": errors.AlreadyExists,
    "FAILED_PRECONDITION": errors.FailedPrecondition,
    "UNAUTHENTICATED": errors.PermissionDenied,
    "PERMISSION_DENIED": errors.PermissionDenied,
    "UNAVAILABLE": errors.Unavailable,
    "ABORTED": errors.Unavailable,
    "RESOURCE_EXHAUSTED": errors.Overloaded,
    "DEADLINE_EXCEEDED": errors.DeadlineExceeded,
    "CANCELLED": errors.Unavailable,
}

_HINTS: dict[type[errors.RunstreamError], str] = {
    errors.Unavailable: "is the service running there? The address comes from address=, else RUNSTREAM_ADDRESS",
    errors.DeadlineExceeded: "give a larger timeout=, or ask for less",
    errors.FailedPrecondition: "restore it first",
}


def to_exception(failure: Failure, address: str) -> errors.RunstreamError:
    """The exception for a failed call to `address`."""
    kind = _EXCEPTIONS.get(failure.code, errors.ServiceError)
    hint = f"; {_HINTS[kind]}" if kind in _HINTS else ""
    return kind(
        f"{failure} [service at {address}{hint}]",
        code=failure.code,
        reason=failure.reason,
        field=failure.field,
        retry_after_s=failure.retry_after_s,
    )
