"""The errors of calls. Each class says whose fault the error is, and whether trying again helps.

    CoreError
    ├── InvalidField            fault of the caller: a field has a wrong form
    │   └── TooManySeries
    ├── ProtocolError           fault of the caller: the stream broke the protocol; `reason` says how
    │   ├── MalformedMessage
    │   ├── OpenExpected
    │   ├── ColumnLengths
    │   ├── UndeclaredSeries
    │   └── SequenceGap
    ├── Unauthenticated         the caller is unknown: no credentials, or none that are valid
    ├── Forbidden               the caller's role does not allow it
    ├── NotFound                what the request names does not exist
    │   ├── RunNotFound
    │   ├── ExperimentNotFound
    │   ├── WorkspaceNotFound
    │   └── ArtifactNotFound
    ├── AlreadyExists           the name or id is taken
    │   └── RunInOtherExperiment
    ├── RunDeleted, ExperimentDeleted, ParamChanged
    ├── MessageTooLarge         fault of the caller: a message is too long
    ├── Fenced                  no fault: a newer stream of this producer took over
    ├── LedgerBehind            the database lost batches that were acknowledged
    ├── CommitFailed            a batch triggers a bug of the service
    ├── ReadTooSlow             a read took so long that its rows were moved
    ├── CursorTooOld            points after the cursor of a tail have been dropped from hot batches
    ├── StoreFull               the artifact store has no room
    ├── StoreRefuses            the artifact store refuses this service
    ├── FileTooLarge            a file is larger than the workspace's limit
    ├── ArtifactsOff            this service keeps no files
    └── Retryable               no fault of the caller: try again after `retry_after_s`
        ├── Overloaded
        │   └── LimitReached    the workspace has reached one of its limits
        ├── OpenTimeout
        ├── ClientStalled
        ├── Draining
        ├── DatabaseUnavailable
        │   ├── NotConnected    there was no connection, so nothing was done
        │   └── DatabaseUnsuitable  its setup does not allow the service to keep its promises
        ├── DatabaseChanged     a stream was opened before a restart or a failover of the database
        ├── StoreUnavailable
        └── IssuerUnavailable   the keys of an issuer of JWTs cannot be fetched

The table in `statuses.py` has the status of each over gRPC and MLflow's routes. Callers also get the `reason`; the
comments of the services in proto/ say when.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class CoreError(Exception):
    """Base class. `reason`: a stable, public name. `field`: the field of the request that was wrong, or empty.
    `subject`: the id or name that the error is about, for front ends that have their own messages."""

    reason = "INTERNAL"

    def __init__(self, message: str, *, field: str = "", subject: object = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.subject = subject


class InvalidField(CoreError):
    """A field of a request has a wrong form, length or range. `position`: the first wrong character of its text,
    counted from 0, if that is known."""

    reason = "INVALID_FIELD"

    def __init__(self, message: str, *, field: str = "", subject: object = "", position: int | None = None) -> None:
        super().__init__(message, field=field, subject=subject)
        self.position = position


class TooManySeries(InvalidField):
    """The run has as many series as it may have."""

    reason = "TOO_MANY_SERIES"


class ProtocolError(CoreError):
    """The stream broke the protocol. It ends, and its client keeps all batches that are not acknowledged."""


class MalformedMessage(ProtocolError):
    """The bytes of a message are not an AppendRequest."""

    reason = "MALFORMED_MESSAGE"


class OpenExpected(ProtocolError):
    """A message is for a producer that is not open, or is an Open where none is allowed."""

    reason = "OPEN_EXPECTED"


class ColumnLengths(ProtocolError):
    """The columns of a batch differ in length."""

    reason = "COLUMN_LENGTHS"


class UndeclaredSeries(ProtocolError):
    """A batch uses a series index that the stream did not declare."""

    reason = "UNDECLARED_SERIES"


class SequenceGap(ProtocolError):
    """A batch number does not follow the last one."""

    reason = "SEQUENCE_GAP"


class Unauthenticated(CoreError):
    """The caller is unknown: it sent no credentials, or invalid ones."""

    reason = "UNAUTHENTICATED"


class Forbidden(CoreError):
    """The role of the caller does not allow the call."""

    reason = "FORBIDDEN"


class NotFound(CoreError):
    """What the request names does not exist, or not for this caller."""

    reason = "NOT_FOUND"


class RunNotFound(NotFound):
    """There is no such run, or not for this caller."""

    reason = "RUN_NOT_FOUND"


class WorkspaceNotFound(NotFound):
    """There is no such workspace, or not for this caller."""

    reason = "WORKSPACE_NOT_FOUND"


class ExperimentNotFound(NotFound):
    """There is no such experiment, or not for this caller."""

    reason = "EXPERIMENT_NOT_FOUND"


class ArtifactNotFound(NotFound):
    """No file has that path in the artifact store."""

    reason = "ARTIFACT_NOT_FOUND"


class RunDeleted(CoreError):
    """The run is deleted."""

    reason = "RUN_DELETED"


class ExperimentDeleted(CoreError):
    """The experiment is deleted."""

    reason = "EXPERIMENT_DELETED"


class ParamChange(NamedTuple):
    """A param that would have been changed, from `stored` to `new`."""

    key: str
    stored: str
    new: str


class ParamChanged(CoreError):
    """Params have other values already; `changes` has all of them."""

    reason = "PARAM_CHANGED"

    def __init__(
        self, message: str, *, field: str = "", subject: object = "", changes: Sequence[ParamChange] = ()
    ) -> None:
        super().__init__(message, field=field, subject=subject)
        self.changes = tuple(changes)


class AlreadyExists(CoreError):
    """The name or id is taken, perhaps by something that is deleted."""

    reason = "ALREADY_EXISTS"


class RunInOtherExperiment(AlreadyExists):
    """The run id is that of a run of another experiment or workspace."""

    reason = "RUN_IN_OTHER_EXPERIMENT"


class MessageTooLarge(CoreError):
    """A message is longer than messages of its kind may be."""

    reason = "MESSAGE_TOO_LARGE"


class Fenced(CoreError):
    """A newer stream of the same producer took over, or its run was deleted."""

    reason = "FENCED"


class LedgerBehind(CoreError):
    """The ledger knows less than the client got acknowledged: the database was restored to an older state."""

    reason = "LEDGER_BEHIND"


class CommitFailed(CoreError):
    """A batch fails repeatedly because of a bug of the service. It is neither stored nor refused; its client keeps
    it."""

    reason = "COMMIT_FAILED"


class ReadTooSlow(CoreError):
    """A partition that the read needed was dropped meanwhile. A smaller read will succeed."""

    reason = "READ_TOO_SLOW"


class CursorTooOld(CoreError):
    """The commits after the cursor cannot be sent any more: their hot batches are gone."""

    reason = "CURSOR_TOO_OLD"


class StoreFull(CoreError):
    """The artifact store is full. An operator has to make room, which takes longer than a client retries."""

    reason = "STORE_FULL"


class StoreRefuses(CoreError):
    """The artifact store refuses this service: its credentials are wrong, or the directory belongs to another
    account."""

    reason = "STORE_REFUSES"


class FileTooLarge(CoreError):
    """A file is larger than the limit of its workspace."""

    reason = "FILE_TOO_LARGE"


class ArtifactsOff(CoreError):
    """This service keeps no files (--artifacts none)."""

    reason = "ARTIFACTS_OFF"


class Retryable(CoreError):
    """The call failed through no fault of the caller. The same call may succeed after `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0, field: str = "") -> None:
        super().__init__(message, field=field)
        self.retry_after_s = retry_after_s


class Overloaded(Retryable):
    """The service is at its capacity."""

    reason = "OVERLOADED"


class LimitReached(Overloaded):
    """The workspace has reached one of its limits. The same call is possible again later."""

    reason = "LIMIT_REACHED"


class OpenTimeout(Retryable):
    """A stream began, but no message arrived: its client or the network hangs."""

    reason = "OPEN_TIMEOUT"


class ClientStalled(Retryable):
    """The client does not read its messages, although its connection is up."""

    reason = "CLIENT_STALLED"


class Draining(Retryable):
    """This replica shuts down, or the stream has reached its maximum age. The client should continue on another
    replica."""

    reason = "DRAINING"


class DatabaseUnavailable(Retryable):
    """PostgreSQL does not answer, ended the connection, or cannot execute statements now."""

    reason = "DATABASE_UNAVAILABLE"


class NotConnected(DatabaseUnavailable):
    """There was no connection to PostgreSQL, so nothing was done. Connecting has failed for `away_s` seconds."""

    def __init__(self, message: str, *, away_s: float = 0.0, retry_after_s: float = 1.0, field: str = "") -> None:
        super().__init__(message, retry_after_s=retry_after_s, field=field)
        self.away_s = away_s


class DatabaseUnsuitable(DatabaseUnavailable):
    """PostgreSQL, or a pooler in between, is set up so that the service cannot keep its promises. An operator has to
    change that, so the service does not wait for it when it starts."""


class DatabaseChanged(Retryable):
    """PostgreSQL was restarted or failed over after the stream was opened, so the session and series of the stream may
    be invalid. Open it again."""

    reason = "DATABASE_CHANGED"


class StoreUnavailable(Retryable):
    """The artifact store does not answer."""

    reason = "STORE_UNAVAILABLE"


class IssuerUnavailable(Retryable):
    """An issuer of tokens does not answer, or its answer is not valid."""

    reason = "ISSUER_UNAVAILABLE"
