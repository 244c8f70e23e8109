"""The exceptions that `Client` raises. Logging never raises any of these; see `Run`.

RunstreamError                base class; `retryable` says whether trying again can help
├── InvalidArgument           fault of the caller: a field has a wrong form; `field` names it
├── NotFound                  fault of the caller: there is no such run or experiment (for this caller)
├── AlreadyExists             fault of the caller: a param has another value, or a run id is taken
├── FailedPrecondition        fault of the caller: the run or experiment is deleted; restore it first
├── PermissionDenied          fault of the caller: missing rights
│   └── Unauthenticated       fault of the caller: no token, or one that is not valid (any more)
├── Unavailable               nobody's fault: no connection, or the service has no database; try again
├── Overloaded                nobody's fault: the service is at its capacity; try again after `retry_after_s`
├── DeadlineExceeded          nobody's fault: no response within the timeout
└── ServiceError              fault of the service: a bug, lost data, or a status that this client does not know
"""

from __future__ import annotations


class RunstreamError(Exception):
    """Base of all errors that `runstream.Client` raises.

    `code` is the name of the gRPC status, `reason` the service's stable constant (documented in proto/), `field` the
    field of the request that was wrong; each is empty if unknown. `retry_after_s` is the wait in seconds that the
    service asked for; None: it asked for none.
    """

    retryable = False

    def __init__(
        self, message: str, *, code: str = "", reason: str = "", field: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.field = field
        self.retry_after_s = retry_after_s


class InvalidArgument(RunstreamError):
    """A field of the request has a wrong form, length or range."""


class NotFound(RunstreamError):
    """No such run or experiment for this caller."""


class AlreadyExists(RunstreamError):
    """A param has another value already, or a run id belongs to another experiment."""


class FailedPrecondition(RunstreamError):
    """The run or experiment is deleted."""


class PermissionDenied(RunstreamError):
    """The caller has no right to do that."""


class Unauthenticated(PermissionDenied):
    """The service does not know the caller: it sent no token, or one that is not valid (any more)."""


class Unavailable(RunstreamError):
    """The service cannot be reached, or has no connection to its database."""

    retryable = True


class Overloaded(RunstreamError):
    """The service is at its capacity."""

    retryable = True


class DeadlineExceeded(RunstreamError):
    """The service did not answer within the timeout."""

    retryable = True


class ServiceError(RunstreamError):
    """The service failed in a way that is not the caller's fault."""
