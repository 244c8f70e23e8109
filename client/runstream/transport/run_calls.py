"""The unary calls of one journal: create the run, write its params and tags, set its end. No I/O, threads or clock.

All of these calls are idempotent, so each is repeated until it is answered. One whose failure may be a bug of the
service is only repeated a few times, so that it does not delay the others. The run's end is set when everything before
it is settled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runstream import _params_tags, _status
from runstream._backoff import Backoff
from runstream.transport.notices import JournalNotices
from runstream.transport.settled import SettledRecords
from runstream.v1 import run_pb2

_CALL_BYTES = 256 * 1024  # params or tags in one call: far below the message limits of services and proxies
_ENTRY_BYTES = 16  # how much the encoding adds to a key and its value
_TRIES = 6  # how often a call is made if its failures may be a bug of the service
# Codes of failures that a single entry of a call may have caused.
_CAUSED_BY_ONE_ENTRY = ("INVALID_ARGUMENT", "ALREADY_EXISTS", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED")
_QUIET_S = 1.0  # warn about a first failure only if the next try has to wait longer
_ASK_AGAIN_S = 30.0  # how long to wait before the service is asked again for a run that it has refused
_STATUSES = {
    "FINISHED": run_pb2.RUN_STATUS_FINISHED,
    "FAILED": run_pb2.RUN_STATUS_FAILED,
    "KILLED": run_pb2.RUN_STATUS_KILLED,
}


@dataclass
class Call:
    """One unary call of RunService. `entries`: the params or tags in it. `sequences`: the records that it settles."""

    method: str
    entries: dict[str, str] = field(default_factory=dict)
    sequences: list[int] = field(default_factory=list)
    size: int = 0  # bytes
    under_way: bool = False
    failures: int = 0
    suspicious_failures: int = 0  # failures that may be a bug that this call triggers
    retry_requested: bool = False  # whatever the response to the call under way is, make the call once more


@dataclass
class Creation:
    """The content of the CREATE record, updated by what CreateRun has answered."""

    run_id: str
    derived: bool
    experiment: str
    name: str
    user: str
    start_time_unix_us: int
    rank: int
    attempt: int
    age_us: int  # of the process or handle (see Joining), 0: unknown
    time_unix_us: int  # when it had that age
    ends_run: bool
    joins: bool = False  # the run exists already: it is neither created nor set to running again
    ends_all_attempts: bool = False  # it ends newer attempts as well, not only its own and older ones
    reopens: bool = False  # an earlier handle of the same process has written to it

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Creation:
        """Reads a CREATE record. Raises ValueError if it lacks something or has a wrong value."""
        try:
            return cls(
                run_id=str(record["run_id"]),
                derived=bool(record.get("derived", False)),
                experiment=str(record.get("experiment") or ""),
                name=str(record.get("name") or ""),
                user=str(record.get("user") or ""),
                start_time_unix_us=int(record.get("start_time_unix_us") or 0),
                rank=int(record.get("rank") or 0),
                attempt=int(record.get("attempt") or 0),
                age_us=int(record.get("age_us") or 0),
                time_unix_us=int(record.get("time_unix_us") or 0),
                ends_run=bool(record.get("ends_run", False)),
                joins=bool(record.get("joins", False)),
                ends_all_attempts=bool(record.get("ends_all_attempts", False)),
                reopens=bool(record.get("reopens", False)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the CREATE record has no usable {error}") from error

    def request(self, now_unix_us: int) -> run_pb2.CreateRunRequest:
        """The request of CreateRun. It has the age that the caller has by now, so that the service knows whether the
        run had ended before the caller started, or ended afterwards."""
        return run_pb2.CreateRunRequest(
            run_id=self.run_id,
            derived=self.derived,
            experiment=self.experiment,
            name=self.name,
            user=self.user,
            start_time_unix_us=self.start_time_unix_us,
            rank=self.rank,
            attempt=self.attempt,
            age_us=max(1, self.age_us + max(0, now_unix_us - self.time_unix_us)) if self.age_us else 0,
        )


class RunCalls:
    """The calls of one journal, in order. Guarded by the transport's lock.

    `next` says which call to make; then exactly one of `answered`, `failed` and `not_made` follows for it.
    """

    def __init__(
        self,
        creation: Creation,
        settled: SettledRecords,
        notices: JournalNotices,
        backoff: Callable[[], Backoff],
        *,
        state: str = "",
        on_refused: Callable[[str], None],
        on_accepted: Callable[[], None],
    ) -> None:
        self.creation = creation
        # As in Position.run_state. What the service refused earlier, it is asked again.
        self.state = "created" if state == "created" else ""
        self.run_name = ""
        self.end_refused = False
        self.finished = False  # the end is answered
        self.waiting_bytes = 0
        self._settled = settled
        self._notices = notices
        self._create = Call("CreateRun")
        self._calls: deque[Call] = deque()
        self._finish: Call | None = None
        self._end: run_pb2.FinishRunRequest | None = None
        self._points_settled = False
        self._backoff = backoff()
        self._on_refused = on_refused
        self._on_accepted = on_accepted
        self._is_final = False  # the run does not exist and will not be created
        if creation.joins and not self.state:
            self.state = "created"

    # The journal.

    def create_record(self, sequence: int) -> None:
        """Notes that the CREATE record was read."""
        self._create.sequences.append(sequence)
        if self.state == "created":
            self._settle(self._create)

    def put(self, method: str, sequence: int, entries: Mapping[str, str]) -> None:
        """Queues the entries of a PARAMS or TAGS record that was read; `method` is LogParams or SetTags. They go into
        the last waiting call if they fit, but not if it has another value of one of the params: the service decides
        which value it accepts."""
        if self._is_final:
            self._settled.settle(sequence)
            return
        size = _call_bytes(entries)
        self.waiting_bytes += size
        last = next((call for call in reversed(self._calls) if call.method == method), None)
        if last is not None and self._fits_into(last, entries, size):
            last.entries.update(entries)
            last.sequences.append(sequence)
            last.size += size
            return
        chunks = list(_chunks(method, entries))
        if not chunks:
            self._settled.settle(sequence)
            return
        chunks[-1].sequences.append(sequence)
        self._calls.extend(chunks)

    def _fits_into(self, call: Call, entries: Mapping[str, str], size: int) -> bool:
        return (
            not call.under_way
            and not call.failures
            and call.size + size <= _CALL_BYTES
            and len(call.entries) + len(entries) <= _params_tags.MAX_ENTRIES
            and (
                call.method == "SetTags" or all(call.entries.get(key, value) == value for key, value in entries.items())
            )
        )

    def finish(self, sequence: int, status: str, end_time_unix_us: int, ends_run: bool) -> None:
        """Notes that the FINISH record was read, or (sequence 0) that the writer died without one."""
        self._finish = Call("FinishRun", sequences=[sequence] if sequence else [])
        if self._is_deleted():
            self.state = ""  # ask once more: if the run was restored in the meantime, what waits is written
        if ends_run:
            self._end = run_pb2.FinishRunRequest(
                status=_STATUSES.get(status, run_pb2.RUN_STATUS_FAILED),
                end_time_unix_us=end_time_unix_us,
                attempt=None if self.creation.ends_all_attempts else self.creation.attempt,
            )

    def points_settled(self, settled: bool) -> None:
        """Notes whether all batches of the journal are settled: then, if nothing else waits, the end may be set."""
        self._points_settled = settled
        if self._finish is not None and (self._is_deleted() or self._is_final):
            self._drop_calls()  # the journal does not wait for the run to be restored
        if self._finish is not None and self._end is None and self._may_finish():
            self._settle(self._finish)  # this rank only detaches
            self._finish = None
            self.finished = True

    def _may_finish(self) -> bool:
        taken = self.state in ("created", "deleted") or self._is_final
        return self._points_settled and not self._calls and taken

    # Making calls.

    @property
    def pending(self) -> int:
        """How many calls are not answered."""
        return len(self._calls) + (self._finish is not None) + (self.state != "created")

    @property
    def has_finish(self) -> bool:
        """Whether the end waits, or is answered."""
        return self._finish is not None or self.finished

    def next(self) -> Call | None:
        """The call to make now; None if there is none, or one is under way."""
        call = self._choose()
        if call is None or call.under_way:
            return None
        call.under_way = True
        return call

    @property
    def has_next(self) -> bool:
        """Whether `next` returns a call."""
        call = self._choose()
        return call is not None and not call.under_way

    def _choose(self) -> Call | None:
        if self._is_final:
            return None
        if self._finish is not None and self._end is not None and self._is_deleted() and self._points_settled:
            return self._finish  # for a deleted run, the service accepts nothing but its end
        if self.state != "created":
            return self._create
        if self._calls:
            return self._calls[0]
        return self._finish if self._end is not None and self._may_finish() else None

    def request(self, call: Call, now_unix_us: int) -> Any:
        """The request of a call. The run's id may have changed since the call was queued."""
        run_id = self.creation.run_id
        if call.method == "CreateRun":
            return self.creation.request(now_unix_us)
        if call.method == "LogParams":
            return run_pb2.LogParamsRequest(run_id=run_id, params=call.entries)
        if call.method == "SetTags":
            return run_pb2.SetTagsRequest(run_id=run_id, tags=call.entries)
        assert self._end is not None
        self._end.run_id = run_id
        return self._end

    def not_made(self, call: Call) -> None:
        """Notes that the call was not made after all."""
        call.under_way = False

    def answered(self, call: Call, response: Any) -> None:
        """Notes the response of a call that succeeded."""
        self._backoff.reset()
        self._notices.connected()
        if call.method == "CreateRun":
            self._created(response)
        self._done(call)

    def failed(self, call: Call, failure: _status.Failure) -> float:
        """Notes that a call failed; returns how long to wait before the next call of this journal, in seconds."""
        call.under_way = False
        retry_requested, call.retry_requested = call.retry_requested, False
        self._notices.last_error = f"{call.method}: {failure}"
        if failure.retry is _status.Retry.WHEN_ALLOWED:
            return self._handle_refused_caller(call, failure)
        call.failures += 1
        call.suspicious_failures += failure.retry is _status.Retry.A_FEW_TIMES or failure.reason == "RUN_NOT_FOUND"
        hopeless = failure.retry is _status.Retry.NEVER or call.suspicious_failures >= _TRIES
        if retry_requested and failure.retry is _status.Retry.NEVER:
            return 0.0  # `retry_now` was called in the meantime: ask once more
        if failure.reason == "RUN_DELETED" and call is not self._finish:
            self.run_deleted()
            return self._backoff.next_s(failure.retry_after_s) if call is self._create else 0.0
        if call is self._create:
            return self._create_failed(failure, hopeless)
        if failure.reason == "RUN_NOT_FOUND" and call.suspicious_failures < _TRIES:
            self.create_again()
            return self._backoff.next_s()
        if hopeless:
            self._give_up(call, failure)
            return 0.0
        return self._retry_in(call, failure)

    def _handle_refused_caller(self, call: Call, failure: _status.Failure) -> float:
        """Handles a refusal of the caller: the call is made again when the caller is accepted. A run that is not
        created counts as refused, so that the end of the process does not wait for it."""
        if call is self._create:
            self.state = "refused"
        self._notices.caller_refused(failure)
        return self._backoff.next_s(failure.retry_after_s)

    def retry_now(self) -> None:
        """Asks again, as somebody waits: if CreateRun is under way and is refused, it is made once more."""
        self._create.retry_requested = self._create.under_way

    # What responses mean.

    def _created(self, response: run_pb2.CreateRunResponse) -> None:
        creation, run = self.creation, response.run
        self.run_name = run.name
        if run.run_id and run.run_id != creation.run_id:
            self._notices.run_id = run.run_id
            self._notices.log_only(
                "the launcher gave this job the same id as an earlier job, whose run %s has ended or is in another "
                "workspace; points go to this run",
                creation.run_id,
            )
            creation.run_id = run.run_id
        # If the service forgets the run, the next CreateRun must create exactly this one.
        creation.derived = False
        if creation.experiment and run.experiment != creation.experiment:
            self._report_other_experiment(creation.experiment, run.experiment)
        self._accepted()

    def _report_other_experiment(self, wanted: str, found: str) -> None:
        """Reports why the run is in another experiment. Instead of a deleted experiment, the service uses one of the
        same name followed by a number."""
        name, _, number = found.rpartition(" (")
        if number[:-1].isdecimal() and wanted.startswith(name):
            self._notices.add_once(
                "experiment",
                "the experiment %r is deleted, so the run is in %r; to have runs in %r again, restore it (in the web "
                "UI of MLflow, or with `mlflow experiments restore`), or choose another name",
                wanted,
                found,
                wanted,
            )
        else:
            self._notices.add_once(
                "experiment", "the run was moved from experiment %r to %r; it stays there", wanted, found
            )

    def _accepted(self) -> None:
        self.state = "created"
        self._create.failures = self._create.suspicious_failures = 0
        self._settle(self._create)
        self._create.sequences.clear()
        self._on_accepted()

    def _create_failed(self, failure: _status.Failure, hopeless: bool) -> float:
        if failure.reason == "RUN_IN_OTHER_EXPERIMENT":
            # The run exists, and the caller named it by its id: its points belong there.
            if self.creation.experiment:
                self._notices.add_once("experiment", "%s; points go to the run of that id", failure)
                self.creation.experiment = ""
            else:
                self._accepted()
            return 0.0
        if not hopeless:
            return self._retry_in(self._create, failure)
        self.state = "refused"
        self._notices.add_once(
            "create",
            "the service does not create the run (%s); points are kept in the journal, and the service is asked again "
            "twice a minute. %s",
            failure,
            _status.advice(failure),
        )
        return self._backoff.next_s(failure.retry_after_s, at_least_s=_ASK_AGAIN_S)

    def create_again(self) -> None:
        """Handles that the service does not know the run (any more): it is created again, unless this only joins it."""
        if self.creation.joins:
            self.state, self._is_final = "refused", True
            self._drop_calls()
            self._on_refused("run_not_found")
        elif self.state == "created":
            self.state = ""

    def run_deleted(self) -> None:
        """Handles that the run is deleted. The service is asked again from time to time, as a run can be restored."""
        if self.creation.joins:
            self._drop_calls()
            self._on_refused("run_deleted")
            self._on_accepted()  # the next Open asks again
            return
        self.state = "deleted"
        self._on_refused("run_deleted")

    def _drop_calls(self) -> None:
        """Drops params and tags of a run that does not exist or is deleted."""
        for call in self._calls:
            self._settle(call)
        self._calls.clear()
        self.waiting_bytes = 0

    def _is_deleted(self) -> bool:
        return self.state == "deleted"

    def _retry_in(self, call: Call, failure: _status.Failure) -> float:
        wait_s = self._backoff.next_s(failure.retry_after_s)
        # A failure that may be a bug came over a working connection; it is reported when the call is given up.
        if failure.retry is not _status.Retry.A_FEW_TIMES and (call.failures > 1 or wait_s > _QUIET_S):
            self._notices.connection_failed(failure, wait_s)
        return wait_s

    def _give_up(self, call: Call, failure: _status.Failure) -> None:
        """Handles a final refusal. If a single entry may be to blame, the call is divided in two, again and again, so
        that only the bad entry is lost."""
        if failure.code in _CAUSED_BY_ONE_ENTRY and len(call.entries) > 1:
            self._calls.popleft()
            self._calls.extendleft(reversed(_halves(call)))
            return
        self.end_refused |= call is self._finish
        self._notices.call_refused(call.method, list(call.entries), failure)
        self._done(call)

    def _done(self, call: Call) -> None:
        call.under_way = False
        self._settle(call)
        if call is self._finish:
            self._finish = None
            self.finished = True
        elif self._calls and self._calls[0] is call:
            self._calls.popleft()
            self.waiting_bytes = sum(each.size for each in self._calls)
        self.points_settled(self._points_settled)

    def _settle(self, call: Call) -> None:
        for sequence in call.sequences:
            self._settled.settle(sequence)


def _call_bytes(entries: Mapping[str, str]) -> int:
    return sum(_params_tags.text_bytes(key, value) + _ENTRY_BYTES for key, value in entries.items())


def _chunks(method: str, entries: Mapping[str, str]) -> list[Call]:
    """Divides entries into calls that are not too large for the service."""
    return [
        Call(method, piece, size=_call_bytes(piece)) for piece in _params_tags.split(entries, _CALL_BYTES, _ENTRY_BYTES)
    ]


def _halves(call: Call) -> list[Call]:
    """Two calls with half of the entries each. The second, which is made later, settles the records."""
    keys = list(call.entries)
    middle = len(keys) // 2
    first, second = (
        Call(call.method, {key: call.entries[key] for key in part}, size=call.size // 2)
        for part in (keys[:middle], keys[middle:])
    )
    second.sequences = call.sequences
    return [first, second]
