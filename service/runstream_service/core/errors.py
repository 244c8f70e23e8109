"""The errors of the core. Each carries the decision: whose fault it is and whether trying again helps.

    CoreError
    ├── InvalidField            the caller's: a field has a wrong form
    │   └── TooManySeries
    ├── ProtocolError           the caller's: the stream broke the protocol; `reason` says how
    │   ├── MalformedMessage
    │   ├── OpenExpected
    │   ├── ColumnLengths
    │   ├── UndeclaredSeries
    │   └── SequenceGap
    ├── NotFound                what the request names is not there
    │   ├── RunNotFound
    │   ├── ExperimentNotFound
    │   └── ArtifactNotFound
    ├── AlreadyExists           the name or id is taken
    │   └── RunInOtherExperiment
    ├── RunDeleted, ExperimentDeleted, ParamChanged
    ├── MessageTooLarge         the caller's: a message is too long
    ├── Fenced                  nobody's: a newer stream of this producer took over
    ├── LedgerBehind            the database lost what it had acknowledged
    ├── CommitFailed            a batch hits a bug of the service
    ├── ReadTooSlow             a read outlived the rows it was reading
    ├── CursorTooOld            a tail's cursor is from before rows that are gone from the hot table
    ├── StoreFull               the artifact store has no room
    ├── StoreRefuses            the artifact store lets this service not in
    └── Retryable               nobody's; try again after `retry_after_s`
        ├── Overloaded
        ├── OpenTimeout
        ├── ClientStalled
        ├── Draining
        ├── DatabaseUnavailable
        │   └── NotConnected    nothing was done with it
        │   └── DatabaseUnsuitable  it is there, and cannot keep the promises of the service as it is set up
        ├── DatabaseChanged     a stream was opened before a restart or a failover of the database
        └── StoreUnavailable

`statuses.py` maps them to gRPC's and MLflow's in one table; `reason` is what callers see (proto/ says when).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class CoreError(Exception):
    """Base. `reason` is stable and public; `field` names the request's field that was wrong, or is empty; `subject` is
    the id or name that it is about, for front ends that have words of their own."""

    reason = "INTERNAL"

    def __init__(self, message: str, *, field: str = "", subject: object = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.subject = subject


class InvalidField(CoreError):
    """A field of a request has a wrong form, length or range."""

    reason = "INVALID_FIELD"


class TooManySeries(InvalidField):
    """The run has as many series as it may."""

    reason = "TOO_MANY_SERIES"


class ProtocolError(CoreError):
    """The stream broke the protocol; it ends, and nothing unacknowledged is final."""


class MalformedMessage(ProtocolError):
    """Bytes that are no AppendRequest."""

    reason = "MALFORMED_MESSAGE"


class OpenExpected(ProtocolError):
    """The first message was not Open, or a later one was."""

    reason = "OPEN_EXPECTED"


class ColumnLengths(ProtocolError):
    """Columns of one batch differ in length."""

    reason = "COLUMN_LENGTHS"


class UndeclaredSeries(ProtocolError):
    """A batch uses a series index that the stream did not declare."""

    reason = "UNDECLARED_SERIES"


class SequenceGap(ProtocolError):
    """A batch number is not the one after the last."""

    reason = "SEQUENCE_GAP"


class NotFound(CoreError):
    """What the request names is not there, or not the caller's."""

    reason = "NOT_FOUND"


class RunNotFound(NotFound):
    """No such run, or not the caller's."""

    reason = "RUN_NOT_FOUND"


class ExperimentNotFound(NotFound):
    """No such experiment, or not the caller's."""

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
    """A param that would have been written over."""

    key: str
    stored: str
    given: str


class ParamChanged(CoreError):
    """Params have other values already; `changes` says which."""

    reason = "PARAM_CHANGED"

    def __init__(
        self, message: str, *, field: str = "", subject: object = "", changes: Sequence[ParamChange] = ()
    ) -> None:
        super().__init__(message, field=field, subject=subject)
        self.changes = tuple(changes)


class AlreadyExists(CoreError):
    """The name or id is taken, perhaps by something deleted."""

    reason = "ALREADY_EXISTS"


class RunInOtherExperiment(AlreadyExists):
    """The run id is taken by a run of another experiment."""

    reason = "RUN_IN_OTHER_EXPERIMENT"


class MessageTooLarge(CoreError):
    """A message is longer than its kind may be."""

    reason = "MESSAGE_TOO_LARGE"


class Fenced(CoreError):
    """A newer stream of the same producer took over, or its run was deleted."""

    reason = "FENCED"


class LedgerBehind(CoreError):
    """The ledger knows less than the client was told: the database was restored to an older state."""

    reason = "LEDGER_BEHIND"


class CommitFailed(CoreError):
    """A batch fails again and again for a bug of the service; nothing of it is stored, and nothing is final."""

    reason = "COMMIT_FAILED"


class ReadTooSlow(CoreError):
    """The partition that a read needed was dropped meanwhile; a smaller read will do."""

    reason = "READ_TOO_SLOW"


class CursorTooOld(CoreError):
    """The commits after the cursor cannot be told any more: their hot rows are gone."""

    reason = "CURSOR_TOO_OLD"


class StoreFull(CoreError):
    """The artifact store has no room; that takes a person longer than a client repeats a call."""

    reason = "STORE_FULL"


class StoreRefuses(CoreError):
    """The artifact store does not let this service in: wrong credentials, or a directory of somebody else's."""

    reason = "STORE_REFUSES"


class ArtifactsOff(CoreError):
    """This service keeps no files; whoever runs it decided so."""

    reason = "ARTIFACTS_OFF"


class Retryable(CoreError):
    """Nobody's fault; the same call may succeed after `retry_after_s`."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0, field: str = "") -> None:
        super().__init__(message, field=field)
        self.retry_after_s = retry_after_s


class Overloaded(Retryable):
    """The service has as much work as it takes."""

    reason = "OVERLOADED"


class OpenTimeout(Retryable):
    """A stream was begun and nothing came on it: its client, or the network, hangs."""

    reason = "OPEN_TIMEOUT"


class ClientStalled(Retryable):
    """Its client reads nothing of what is sent to it, while its connection is up."""

    reason = "CLIENT_STALLED"


class Draining(Retryable):
    """This replica shuts down, or the stream is old: another one answers."""

    reason = "DRAINING"


class DatabaseUnavailable(Retryable):
    """PostgreSQL does not answer, or ended the connection."""

    reason = "DATABASE_UNAVAILABLE"


class NotConnected(DatabaseUnavailable):
    """No connection to PostgreSQL was to be had, so nothing was done with it; for `away_s` there has been none."""

    def __init__(self, message: str, *, away_s: float = 0.0, retry_after_s: float = 1.0, field: str = "") -> None:
        super().__init__(message, retry_after_s=retry_after_s, field=field)
        self.away_s = away_s


class DatabaseUnsuitable(DatabaseUnavailable):
    """PostgreSQL, or what is between, is set up so that the service cannot keep its promises. Somebody has to change
    that; at the start of the service there is no point in waiting for it."""


class DatabaseChanged(Retryable):
    """PostgreSQL was restarted or failed over since the stream was opened: what the stream knows of it may be wrong."""

    reason = "DATABASE_CHANGED"


class StoreUnavailable(Retryable):
    """The artifact store does not answer."""

    reason = "STORE_UNAVAILABLE"
