"""The one table that says what each error of the core is to callers: over gRPC, and over MLflow's HTTP routes."""

from __future__ import annotations

from typing import NamedTuple

from grpc import StatusCode

from runstream_service.core import errors


class Status(NamedTuple):
    """gRPC's status code, MLflow's error code, and the HTTP status where it is not that of the code."""

    grpc: StatusCode
    mlflow: str
    http: int | None = None

    @property
    def http_status(self) -> int:
        """Over MLflow's routes."""
        return self.http or HTTP_STATUSES[self.mlflow]


# Nothing was done, for certain. MLflow's clients repeat every request after a 429, and from 3.18 on one that creates
# something after nothing else: after a 503 it may be there twice.
NOTHING_DONE = 429

# An error without a line of its own takes its base class's. MLflow's clients repeat a request for minutes when they get
# an HTTP status of 500 or more, so the caller's faults never do.
TABLE: dict[type[errors.CoreError], Status] = {
    errors.CoreError: Status(StatusCode.INTERNAL, "INTERNAL_ERROR"),
    errors.InvalidField: Status(StatusCode.INVALID_ARGUMENT, "INVALID_PARAMETER_VALUE"),
    errors.ProtocolError: Status(StatusCode.INVALID_ARGUMENT, "INVALID_PARAMETER_VALUE"),
    errors.SequenceGap: Status(StatusCode.OUT_OF_RANGE, "INVALID_PARAMETER_VALUE"),
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
    errors.ArtifactsOff: Status(StatusCode.FAILED_PRECONDITION, "PERMISSION_DENIED"),
    errors.Retryable: Status(StatusCode.UNAVAILABLE, "TEMPORARILY_UNAVAILABLE"),
    errors.Draining: Status(StatusCode.UNAVAILABLE, "TEMPORARILY_UNAVAILABLE", NOTHING_DONE),
    errors.NotConnected: Status(StatusCode.UNAVAILABLE, "TEMPORARILY_UNAVAILABLE", NOTHING_DONE),
    errors.Overloaded: Status(StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED"),
}

# mlflow.exceptions.ERROR_CODE_TO_HTTP_STATUS, as far as we use it.
HTTP_STATUSES = {
    "BAD_REQUEST": 400,
    "INVALID_PARAMETER_VALUE": 400,
    "RESOURCE_ALREADY_EXISTS": 400,
    "PERMISSION_DENIED": 403,
    "ENDPOINT_NOT_FOUND": 404,
    "RESOURCE_DOES_NOT_EXIST": 404,
    "RESOURCE_CONFLICT": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL_ERROR": 500,
    "NOT_IMPLEMENTED": 501,
    "TEMPORARILY_UNAVAILABLE": 503,
    # Not MLflow's. Its clients repeat a 500 or 503 for minutes, while a full disk stays full.
    "INSUFFICIENT_STORAGE": 507,
}


def status_of(error: BaseException) -> Status:
    """The status that callers get for an error. An exception that is no CoreError is a bug of the service."""
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), TABLE[errors.CoreError])


def patience_s(away_s: float) -> float:
    """When to come again to what has been away for some time: after as long again. MLflow's clients try seven times,
    and a fixed second would make them give up after seven; so they wait out more than a minute."""
    return min(max(1.0, away_s), 30.0)
