"""The table that maps each error of a call to the status that callers get, over gRPC and over MLflow's HTTP
routes."""

from __future__ import annotations

from typing import NamedTuple

from grpc import StatusCode

from runstream_service.errors import core as errors


class Status(NamedTuple):
    """The status code over gRPC, the error code over MLflow's routes, and the HTTP status there if it is not that of
    the error code."""

    grpc: StatusCode
    mlflow: str
    http: int | None = None

    @property
    def http_status(self) -> int:
        """The HTTP status of the error over MLflow's routes."""
        return self.http or HTTP_STATUSES[self.mlflow]


# The HTTP status if certainly nothing was done. MLflow's clients repeat every request after a 429. Since 3.18, it is
# the only status after which they repeat requests that create something: after a 503, it might be created twice.
NOTHING_DONE = 429

# An error without a line here has the status of its base class. MLflow's clients repeat a request for minutes after an
# HTTP status of 500 or more, so faults of the caller never have one.
TABLE: dict[type[errors.CoreError], Status] = {
    errors.CoreError: Status(StatusCode.INTERNAL, "INTERNAL_ERROR"),
    errors.InvalidField: Status(StatusCode.INVALID_ARGUMENT, "INVALID_PARAMETER_VALUE"),
    errors.ProtocolError: Status(StatusCode.INVALID_ARGUMENT, "INVALID_PARAMETER_VALUE"),
    errors.SequenceGap: Status(StatusCode.OUT_OF_RANGE, "INVALID_PARAMETER_VALUE"),
    errors.Unauthenticated: Status(StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
    errors.Forbidden: Status(StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
    errors.NotFound: Status(StatusCode.NOT_FOUND, "RESOURCE_DOES_NOT_EXIST"),
    errors.AlreadyExists: Status(StatusCode.ALREADY_EXISTS, "RESOURCE_ALREADY_EXISTS"),
    errors.RunDeleted: Status(StatusCode.FAILED_PRECONDITION, "INVALID_PARAMETER_VALUE"),
    errors.ExperimentDeleted: Status(StatusCode.FAILED_PRECONDITION, "INVALID_PARAMETER_VALUE"),
    errors.ParamChanged: Status(StatusCode.ALREADY_EXISTS, "INVALID_PARAMETER_VALUE"),
    errors.MessageTooLarge: Status(StatusCode.RESOURCE_EXHAUSTED, "INVALID_PARAMETER_VALUE"),
    errors.Fenced: Status(StatusCode.ABORTED, "TEMPORARILY_UNAVAILABLE"),
    errors.LedgerBehind: Status(StatusCode.DATA_LOSS, "INTERNAL_ERROR"),
    errors.ReadTooSlow: Status(StatusCode.ABORTED, "TEMPORARILY_UNAVAILABLE"),
    errors.CursorTooOld: Status(StatusCode.OUT_OF_RANGE, "INVALID_PARAMETER_VALUE"),
    errors.StoreFull: Status(StatusCode.RESOURCE_EXHAUSTED, "INSUFFICIENT_STORAGE"),
    errors.StoreRefuses: Status(StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
    errors.FileTooLarge: Status(StatusCode.FAILED_PRECONDITION, "INVALID_PARAMETER_VALUE", 413),
    errors.ArtifactsOff: Status(StatusCode.FAILED_PRECONDITION, "PERMISSION_DENIED"),
    errors.Retryable: Status(StatusCode.UNAVAILABLE, "TEMPORARILY_UNAVAILABLE"),
    errors.Draining: Status(StatusCode.UNAVAILABLE, "TEMPORARILY_UNAVAILABLE", NOTHING_DONE),
    errors.NotConnected: Status(StatusCode.UNAVAILABLE, "TEMPORARILY_UNAVAILABLE", NOTHING_DONE),
    errors.Overloaded: Status(StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED"),
}

# The part of mlflow.exceptions.ERROR_CODE_TO_HTTP_STATUS that is used here.
HTTP_STATUSES = {
    "BAD_REQUEST": 400,
    "INVALID_PARAMETER_VALUE": 400,
    "RESOURCE_ALREADY_EXISTS": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "ENDPOINT_NOT_FOUND": 404,
    "RESOURCE_DOES_NOT_EXIST": 404,
    "RESOURCE_CONFLICT": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL_ERROR": 500,
    "NOT_IMPLEMENTED": 501,
    "TEMPORARILY_UNAVAILABLE": 503,
    # MLflow's own is 500, which its clients repeat for minutes.
    "FEATURE_DISABLED": 400,
    # This one is not MLflow's: its clients repeat a 500 or 503 for minutes, while a full disk stays full.
    "INSUFFICIENT_STORAGE": 507,
}


def status_of(error: BaseException) -> Status:
    """The status that callers get for an error. Any exception that is not a CoreError is a bug of the service."""
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), TABLE[errors.CoreError])


def patience_s(away_s: float) -> float:
    """How many seconds a caller should wait before it retries, when something has been away for `away_s` seconds:
    equally long, from 1 to 30 s. MLflow's clients try seven times: with a fixed second they would give up after seven
    seconds; with this, they survive an outage of more than a minute."""
    return min(max(1.0, away_s), 30.0)
