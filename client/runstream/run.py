"""Logging: `start_run` and `Run`. Nothing here waits for the network, and after `start_run` nothing raises."""

from __future__ import annotations

import getpass
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from runstream import _entries, _identity, _settings
from runstream._ending import Ending, wait_all
from runstream._joining import Joining
from runstream._launcher import Surroundings
from runstream._lifecycle import process
from runstream._pipeline import Pipeline
from runstream._values import describe
from runstream.v1 import run_pb2

_FINISH_TIMEOUT_S = 30.0
Status = Literal["FINISHED", "FAILED", "KILLED"]
_STATUSES: dict[str, run_pb2.RunStatus] = {
    "FINISHED": run_pb2.RUN_STATUS_FINISHED,
    "FAILED": run_pb2.RUN_STATUS_FAILED,
    "KILLED": run_pb2.RUN_STATUS_KILLED,
}
_finished: dict[str, int] = {}  # derived run id without run index -> how many of its runs this process has finished
_inherited: list[object] = []  # pipelines of a parent process: destroying them would reach into its connections


@dataclass(frozen=True)
class RunStats:
    """The state of the points of one run handle in this process.

    `logged == acknowledged + waiting + sum(refused.values())` at any moment.
    """

    logged: int
    """Points that were passed to log(), in any form."""
    acknowledged: int
    """Points that the service has committed."""
    waiting: int
    """Points in memory: not sent, or sent and not acknowledged."""
    refused: Mapping[str, int]
    """Points that were not stored and, except for the unacknowledged ones, will not be, by reason.

    Here: bad_value, bad_step, bad_time, not_ready (its device had not computed it when the run ended, or for half an
    hour), not_a_mapping, key_not_a_string, key_empty, key_too_long, key_control_character, key_not_utf8,
    too_many_series; buffer_full (the service was away for too long); finished (logged after finish()); not_sent (left
    over when finish() ran out of time); unacknowledged (sent, but not acknowledged in time: the service may have stored
    them); run_deleted; no_threads (none could be started); sender_died, log_failed (bugs). By the service: the names of
    RefusalReason in proto/, in lower case.
    """
    buffered_bytes: int
    """Bytes that the waiting points take; an estimate for those that are not packed yet."""
    lost_acknowledged: int
    """Points that were acknowledged and are gone, because the service's database was restored to an older state."""
    pending_calls: int
    """Calls that wait (params, tags, end of the run)."""
    connected: bool
    """Whether a stream is open now."""
    reconnects: int
    """How often a stream was opened again after the first."""
    series: int
    """Different metric keys."""
    last_error: str
    """The last error of the connection; empty if there was none."""


class Run:
    """A handle on one run, in one process. `start_run` makes it. As a context manager, it finishes the run.

    All methods may be called from any thread, from signal handlers, and after a fork: the child sends on its own, as
    the same rank and attempt, and leaves finishing to the parent.
    """

    experiment: str | None
    name: str | None
    rank: int
    attempt: int

    def __init__(
        self,
        identity: _identity.Identity,
        experiment: str | None,
        name: str | None,
        settings: _settings.Settings,
        base_run_id: str,
    ) -> None:
        self.rank = identity.rank
        self.attempt = identity.attempt
        self.experiment = experiment
        self.name = name
        self._settings = settings
        self._base_run_id = base_run_id
        self._ends_run = identity.rank == 0 or not identity.shared
        self._finish_lock = threading.RLock()  # reentrant: a signal handler may call finish() during finish()
        self._finished = False  # True from the start of finish() on
        self._ending: Ending | None = None
        self._arrived: bool | None = None  # what finish() returned
        request = run_pb2.CreateRunRequest(
            experiment=experiment or "",
            name=name or "",
            user=_user(),
            start_time_unix_us=time.time_ns() // 1000,
        )
        self._joining = Joining(identity, request)
        self._new_pipeline()

    @property
    def run_id(self) -> str:
        """32 hex digits.

        If the id was derived from the launcher's job, it may be that of an earlier launch, whose run has ended; then
        the service assigns another id. So reading a derived id waits up to 2 s for the service, once.
        """
        return self._joining.final_run_id()

    def log(self, metrics: Mapping[str, Any], step: int | None = None, *, time_unix_us: int | None = None) -> None:
        """Logs metrics of one step, in about a microsecond. Never blocks, never raises.

        Values may be numbers of any kind, and arrays and tensors with one element; NaN and infinities are allowed.
        Nested dicts are flattened with "/". A value is captured as it is now; one on an accelerator is copied there and
        read when the device has computed it, so that nothing is synchronised. Anything else is refused, with one
        warning per key in the log "runstream", and counted in `stats().refused`; the other values of the call are
        logged.

        `step` is any whole number of 64 bits; None: one more than the largest step that this handle has logged,
        starting at 0. `time_unix_us` is microseconds since 1970, UTC; None: now. If the service is away, points wait in
        memory up to a bound (see RUNSTREAM_BUFFER_POINTS); beyond it they are refused and counted.
        """
        try:
            self._put(metrics, step, time_unix_us)
        except Exception as error:
            self._log_failed(metrics, error)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Writes params, in the background. Values become strings, up to 6,000 characters; they cannot be changed
        later.

        Invalid params are refused with a warning. The service refuses a param that has another value already.
        """
        self._set("param", params)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Sets tags, in the background, replacing earlier values. Values become strings, up to 8,000 characters."""
        self._set("tag", tags)

    def flush(self, timeout: float | None = None) -> bool:
        """Waits until all points, params and tags so far are answered. `timeout` is in seconds; None: no limit.

        Returns True if they are: each is acknowledged, or refused for good and counted. Returns False if not in time,
        or if nothing more can be sent (the run is deleted).
        """
        return self._pipeline.flush(None if timeout is None else _patience(timeout))

    def finish(self, status: Status = "FINISHED", timeout: float = _FINISH_TIMEOUT_S) -> bool:
        """Flushes for at most `timeout` seconds, sets the run's end, and closes the handle. Returns True if all
        arrived.

        Only rank 0, or the only process of a run, sets the end; other ranks detach. Points that did not arrive in time
        are dropped, counted, and reported in a warning. Never raises; a second call returns what the first one
        returned.
        """
        timeout = _patience(timeout)
        try:
            if not self._finish_lock.acquire(timeout=timeout):
                return False  # another thread is finishing it, with a longer timeout
            try:
                if not self._finished:
                    self._finish(status, timeout)
                return bool(self._arrived)
            finally:
                self._finish_lock.release()
        except Exception as error:
            self._pipeline.notices.warn("could not be finished: %r", error)
            return False

    def _finish(self, status: str, timeout: float) -> None:
        ending = self._begin_finish(status)
        self._put = self._put_late
        try:
            wait_all([ending], timeout)
        except BaseException:  # Ctrl-C: the user does not want to wait
            self._pipeline.abort()
            raise
        finally:
            self._end_finish()

    def _begin_finish(self, status: str) -> Ending:
        self._finished = True
        if not isinstance(status, str) or status not in _STATUSES:
            self._pipeline.notices.warn("finish(%r): expected FINISHED, FAILED or KILLED; taking FAILED", status)
            status = "FAILED"
        last = None
        if self._ends_run:
            ended = time.time_ns() // 1000
            last = run_pb2.FinishRunRequest(status=_STATUSES[status], end_time_unix_us=ended, attempt=self.attempt)
        self._ending = Ending(self._pipeline, last)
        return self._ending

    def _put_late(self, metrics: Mapping[str, Any], step: int | None, time_unix_us: int | None) -> None:
        self._put = self._buffer.put  # it refuses and counts this call, and all later ones
        self._pipeline.notices.warn(
            "log() was called after finish(): such points are refused, and counted in stats().refused as finished "
            "(said once). Call finish() after the last log(), or start another run"
        )
        self._buffer.put(metrics, step, time_unix_us)

    def _end_finish(self, *, at_exit: bool = False) -> None:
        assert self._ending is not None
        process.remove(self)
        if self._base_run_id:
            _finished[self._base_run_id] = _finished.get(self._base_run_id, 0) + 1
        self._ending.close(at_exit)
        self._arrived = self._ending.arrived
        if not self._arrived:
            self._warn_incomplete()

    def stats(self) -> RunStats:
        """The counters, read consistently; cheap."""
        pipeline = self._pipeline
        acknowledged, waiting, size, refused = self._buffer.account()
        connection = pipeline.connection
        return RunStats(
            logged=acknowledged + waiting + sum(refused.values()),
            acknowledged=acknowledged,
            waiting=waiting,
            refused=refused,
            buffered_bytes=size,
            lost_acknowledged=pipeline.outbox.lost_acknowledged,
            pending_calls=pipeline.control.pending(),
            connected=connection.connected,
            reconnects=max(0, connection.streams_opened - 1),
            series=len(pipeline.outbox.series),
            last_error=pipeline.notices.last_error,
        )

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or (isinstance(error, SystemExit) and not error.code):
            self.finish("FINISHED")
        else:
            # Python shows the traceback only after this, so wait no longer than at the end of the interpreter.
            timeout = min(_FINISH_TIMEOUT_S, self._settings.exit_timeout_s)
            self.finish("KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED", timeout)

    def __repr__(self) -> str:
        return f"<runstream.Run {self._joining.run_id} rank={self.rank} attempt={self.attempt}>"

    def _new_pipeline(self) -> None:
        self._pipeline = Pipeline(self._settings, process.channels, self._joining, on_start=process.hook_child_exit)
        self._buffer = self._pipeline.buffer
        self._put = self._buffer.put

    def _set(self, kind: str, entries: Mapping[str, Any]) -> None:
        notices = self._pipeline.notices
        try:
            good = _entries.checked(kind, entries, notices.entry_refused)
            if self._finished:
                notices.limited(f"late {kind}", "%ss refused: the run is finished", kind)
            elif good:
                self._pipeline.put(kind, good)
        except Exception as error:
            notices.warn("%ss refused: %s", kind, describe(error))

    def _log_failed(self, metrics: Any, error: Exception) -> None:
        """Counts and notes a row that raised. Calls no code of its values, which may raise again or read a device."""
        try:
            points = max(1, len(metrics))
        except Exception:
            points = 1
        self._buffer.refuse(points, "log_failed")
        self._pipeline.notices.refused(f"<{type(metrics).__name__}>", f"could not be logged: {describe(error)}")

    def _warn_incomplete(self) -> None:
        stats = self.stats()
        self._pipeline.notices.warn(
            "finished, but not everything reached the service at %s in time: %d points were not sent, %d were sent but "
            "not acknowledged (they may be stored), %d were not computed by their device, %d params, tags and ends of "
            "the run are missing; refused so far: %s; last error: %s",
            self._settings.address,
            stats.refused.get("not_sent", 0) + stats.waiting,
            stats.refused.get("unacknowledged", 0),
            stats.refused.get("not_ready", 0),
            stats.pending_calls,
            dict(stats.refused),
            stats.last_error or "none",
        )

    # For _lifecycle.

    def _wait_created(self, address: str, run_id: str, timeout_s: float) -> None:
        if (address, run_id) == (self._settings.address, self._joining.run_id) and self._pipeline.started:
            self._pipeline.control.wait_answered(timeout_s)

    def _pipeline_of_process(self) -> Pipeline:
        return self._pipeline

    def _in_forked_child(self) -> None:
        self._finish_lock = threading.RLock()
        step = self._buffer.next_step
        _inherited.append(self._pipeline)
        self._ends_run = False
        self._joining = self._joining.for_forked_child()
        self._base_run_id = ""
        self._new_pipeline()
        self._buffer.go_on_from(step)

    def _wait_finished(self, timeout_s: float) -> None:
        if self._finish_lock.acquire(timeout=timeout_s):
            self._finish_lock.release()

    def _begin_at_exit(self, status: str) -> Ending | None:
        """None if another thread is finishing the run."""
        if not self._finish_lock.acquire(blocking=False):
            return None
        try:
            return None if self._finished else self._begin_finish(status)
        finally:
            self._finish_lock.release()


def start_run(
    experiment: str | None = None,
    name: str | None = None,
    *,
    run_id: str | None = None,
    rank: int | None = None,
    attempt: int | None = None,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    address: str | None = None,
) -> Run:
    """Starts a run, or joins one: all processes with the same run id share it.

    Args:
        experiment: Its experiment, created if missing; None: `Default`.
        name: Its name; None: the service makes one up.
        run_id: 32 hex digits; None: RUNSTREAM_RUN_ID, else derived from the launcher's job (torchrun, Slurm, Open MPI,
            or MASTER_ADDR and MASTER_PORT) with experiment and name, so that all ranks share the run, else a fresh one.
            A run that has ended is RUNNING again when it is resumed by its id.
        rank: None: torch.distributed's, if it is set up; RANK, OMPI_COMM_WORLD_RANK, SLURM_PROCID (in a step),
            LOCAL_RANK, else 0.
        attempt: How often the job was restarted; None: RUNSTREAM_ATTEMPT, TORCHELASTIC_RESTART_COUNT,
            SLURM_RESTART_COUNT, else 0.
        params: As in `Run.log_params`.
        tags: As in `Run.set_tags`.
        address: host:port of the service; None: RUNSTREAM_ADDRESS, else 127.0.0.1:50051.

    A run that is still open when the interpreter ends is flushed for up to 10 s (RUNSTREAM_EXIT_TIMEOUT_S) and
    finished; Python 3.12.0 to 3.12.2 can do that only over a connection that is open by then.

    Never waits for the network. Raises TypeError or ValueError for an argument of a wrong form; nothing raises later.
    """
    environ = dict(os.environ)
    settings = _settings.from_environment(address, environ)
    _entries.check_name("experiment", experiment)
    _entries.check_name("name", name)
    good_params = _entries.checked("param", params or {}, _raise)
    good_tags = _entries.checked("tag", tags or {}, _raise)
    given = {
        "experiment": experiment,
        "name": name,
        "run_id": None if run_id is None else _identity.check_run_id(run_id),
        "rank": _identity.check_int32("rank", rank),
        "attempt": _identity.check_int32("attempt", attempt),
    }
    identity, base_run_id = _identify(environ, given)
    _leave_for_ranks(identity, experiment, name)
    run = Run(identity, experiment, name, settings, base_run_id)
    process.add(run)
    if identity.warning:
        run._pipeline_of_process().notices.warn("%s", identity.warning)
    run._pipeline_of_process().start()
    if good_params:
        run.log_params(good_params)
    if good_tags:
        run.set_tags(good_tags)
    return run


def _identify(environ: dict[str, str], given: dict[str, Any]) -> tuple[_identity.Identity, str]:
    """The identity, and for a derived id the id of the job's first run: a second run of the same job and name in this
    process gets another id."""
    identity = _identity.resolve(environ, **given)
    if not identity.derived:
        return identity, ""
    base_run_id = identity.run_id
    run_index = _finished.get(base_run_id, 0)
    if run_index:
        identity = _identity.resolve(environ, **given, run_index=run_index)
    return identity, base_run_id


def _patience(timeout: object) -> float:
    """A timeout in seconds from any argument: finish() never raises, and infinity becomes the longest possible wait."""
    try:
        seconds = float(timeout)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return _FINISH_TIMEOUT_S
    return min(max(0.0, seconds), threading.TIMEOUT_MAX) if seconds == seconds else _FINISH_TIMEOUT_S


def _leave_for_ranks(identity: _identity.Identity, experiment: str | None, name: str | None) -> None:
    """Lightning's rank 0 starts the other ranks only when it trains, so they get its run through their environment."""
    around = Surroundings()
    if not identity.shared and identity.rank == 0 and around.launches_ranks():
        note = _identity.note_for_ranks(os.environ, around, experiment, name, identity.run_id)
        os.environ[_identity.LEFT_FOR_RANKS] = note


def _raise(error: Exception) -> None:
    raise error


def _user() -> str:
    try:
        return getpass.getuser()[:256]
    except Exception:  # no such user in a container: KeyError or OSError, by Python version
        return ""
