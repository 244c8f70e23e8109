"""Logging: `start_run` and `Run`. Nothing here waits for the network, and after `start_run` nothing raises."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal

from runstream import _identity, _notebook, _params_tags, _settings
from runstream._ending import Ending, Pauses, wait_all
from runstream._joining import Joining, user_name
from runstream._lifecycle import process_state
from runstream._markers import EndMarker, FlushMarker
from runstream._outer_run import OuterRun
from runstream._recorder import Recorder
from runstream._recording import Recording
from runstream._run_logger import RunLogger
from runstream._run_stats import RunStats as RunStats
from runstream._start_arguments import StartArguments
from runstream._threads import RLock
from runstream._values import describe

_FINISH_TIMEOUT_S = 30.0
_WAIT_FOR_ID_S = 2.0  # how long reading a derived run id may wait for the service, once; other ids are final
Status = Literal["FINISHED", "FAILED", "KILLED"]
_STATUSES = ("FINISHED", "FAILED", "KILLED")
_finished: dict[str, int] = {}  # derived run id without run index -> how many of its runs this process has finished


class Run:
    """A handle on one run, in one process. `start_run` returns it. As a context manager, it finishes the run.

    All methods may be called from any thread, from signal handlers, and after a fork. A forked child, or a process
    that receives the handle by pickle, records as the same rank and attempt of the run, and leaves finishing to the
    first process. Copying a handle returns the same handle.
    """

    experiment: str | None
    name: str | None
    rank: int
    attempt: int

    def __init__(
        self, joining: Joining, settings: _settings.Settings, base_run_id: str = "", handle_id: str = ""
    ) -> None:
        self.rank = joining.identity.rank
        self.attempt = joining.identity.attempt
        self.experiment = joining.experiment or None
        self.name = joining.name or None
        self._settings = settings
        self._base_run_id = base_run_id
        self._handle_id = handle_id or _identity.fresh_id()  # the same in all processes
        self._cell = ""  # the notebook cell that started the run; empty outside of notebooks
        self._finish_lock = RLock()  # reentrant: a signal handler may call finish() during finish()
        self._finished = False  # True from the start of finish() on
        self._ending: Ending | None = None
        self._arrived: bool | None = None  # what finish() returned
        self._logger = RunLogger(joining.identity.run_id, settings.address, settings.max_points)
        self._record_as(joining, lazy=bool(handle_id))

    def _record_as(self, joining: Joining, *, lazy: bool) -> None:
        recorder = self._recorder = process_state.recorder
        store = recorder.store_for(self._settings)
        self._recording = Recording(self._settings, joining, self._logger, store, recorder, lazy=lazy)
        self._recording.on_no_thread = self._on_no_thread
        self._buffer = self._recording.buffer
        self._put = self._buffer.put
        recorder.add(self._recording)

    @property
    def run_id(self) -> str:
        """32 hex digits.

        An id that was derived from the launcher's job may already belong to an earlier launch, whose run has ended, or
        to a job in another workspace. The service then assigns another id. So reading a derived id waits for the
        service, once, for up to 2 s.
        """
        recording = self._recording
        if recording.joining.identity.derived and not recording.position.run_id and not recording.id_was_read:
            self._wait(lambda: bool(recording.position.run_id), _WAIT_FOR_ID_S)
            recording.id_was_read = not recording.position.run_id
        return recording.run_id

    def log(self, metrics: Mapping[str, Any], step: int | None = None, *, time_unix_us: int | None = None) -> None:
        """Logs metrics of one step, in about a microsecond. Never blocks, never raises.

        Values may be numbers of any kind, and arrays and tensors with one element; NaN and infinities are allowed.
        Nested dicts are flattened with "/". A value is captured as it is now; one on an accelerator is copied there and
        read when the device has computed it, so that nothing is synchronised. Anything else is refused, with one
        warning per key in the log "runstream", and counted in `stats().refused`; the other values of the call are
        logged.

        `step` is any whole number of 64 bits; None: one more than the largest step that this handle has logged,
        starting at 0. `time_unix_us` is microseconds since 1970, UTC; None: now. A thread writes the points to a
        journal on disk, from which an agent sends them to the service.
        """
        try:
            self._put(metrics, step, time_unix_us)
        except Exception as error:
            self._log_failed(metrics, error)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Writes params, in the background. Values become strings of up to 6,000 characters; they cannot be changed
        later.

        Invalid params are refused with a warning. The service refuses a param that already has another value. Never
        raises.
        """
        self._set("param", params)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Sets tags, in the background, replacing earlier values. Values become strings of up to 8,000 characters.

        Invalid tags are refused with a warning. Never raises.
        """
        self._set("tag", tags)

    def flush(self, timeout: float | None = None) -> bool:
        """Waits until the service has answered for all points, params and tags logged so far. `timeout` is in seconds;
        None: no limit.

        Returns True if each of them is acknowledged, or refused for good and counted. Returns False if the time was
        not enough, or if nothing more can be sent, as when the run is deleted. Offline, it waits until everything is on
        disk. Never raises.
        """
        recording = self._recording
        if self._finished or recording.is_empty():
            return not self._finished
        marker = FlushMarker()
        self._buffer.put_marker(marker)
        begun_s = time.monotonic()
        self._wait(
            lambda: recording.is_settled(marker) or recording.is_hopeless(begun_s),
            threading.TIMEOUT_MAX if timeout is None else _wait_seconds(timeout),
        )
        return recording.is_settled(marker) and not (recording.run_refused or recording.lost or recording.dead)

    def _wait(self, done: Callable[[], bool], timeout_s: float) -> None:
        """Waits until `done()`, for at most `timeout_s`. Stops waiting when no recorder runs or the recording is
        closed, as then nothing can change any more."""
        deadline_s = time.monotonic() + timeout_s
        pauses = Pauses()
        with self._recorder.watching(self._recording):
            while self._recorder.running and not self._recording.closed and not done():
                if not pauses.until(deadline_s):
                    return

    def finish(self, status: Status = "FINISHED", timeout: float = _FINISH_TIMEOUT_S) -> bool:
        """Flushes for at most `timeout` seconds, sets the run's end, and closes the handle. Returns True if everything
        arrived at the service.

        Only rank 0, or the only process of a run, sets the end; other ranks detach. What does not arrive in time stays
        in the journal on disk and is sent later; a warning says how. With an operator's agent, and offline, it only
        waits for the disk. Never raises; a second call returns what the first one returned.
        """
        timeout = _wait_seconds(timeout)
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
            self._logger.warn("could not be finished: %r", error)
            return False

    def _finish(self, status: str, timeout: float) -> None:
        ending = self._begin_finish(status)
        self._put = self._put_late
        try:
            wait_all([ending], timeout)
        finally:  # also after Ctrl-C: the user does not want to wait
            self._end_finish()

    def _begin_finish(self, status: str) -> Ending:
        self._finished = True
        if not isinstance(status, str) or status not in _STATUSES:
            self._logger.warn("finish(%r): expected FINISHED, FAILED or KILLED; taking FAILED", status)
            status = "FAILED"
        end = EndMarker(status, time.time_ns() // 1000, self._recording.joining.ends_run)
        self._ending = Ending(self._recorder, self._recording, end)
        return self._ending

    def _put_late(self, metrics: Mapping[str, Any], step: int | None, time_unix_us: int | None) -> None:
        self._put = self._buffer.put  # it refuses and counts this call, and all later ones
        self._logger.warn(
            "log() was called after finish(): such points are refused, and counted in stats().refused as finished "
            "(said once). Call finish() after the last log(), or start another run"
        )
        self._buffer.put(metrics, step, time_unix_us)

    def _end_finish(self) -> None:
        assert self._ending is not None
        process_state.remove(self)
        if self._base_run_id:
            _finished[self._base_run_id] = _finished.get(self._base_run_id, 0) + 1
        self._ending.close()
        self._arrived = self._ending.arrived
        self._logger.finished(self._arrived, self.stats(), self._settings, self._recording.store.path)

    def stats(self) -> RunStats:
        """Returns the counters of this handle, which are consistent with each other. Waits for neither the network nor
        the disk."""
        recording = self._recording
        counters, position = self._buffer.counters(), recording.position
        in_memory = min(recording.unsettled_in_memory(), counters.unsettled)
        return RunStats(
            logged=counters.logged,
            waiting=counters.waiting + in_memory,
            on_disk=counters.unsettled - in_memory,
            acknowledged=counters.acknowledged,
            refused=counters.refused,
            buffered_bytes=counters.waiting_bytes,
            lost_acknowledged=position.lost_acknowledged,
            pending_calls=recording.pending_calls(),
            connected=position.connected,
            reconnects=position.reconnects,
            series=len(recording.series),
            last_error=recording.write_error or position.last_error,
            journal=recording.where,
            journal_path=recording.path,
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
        return f"<runstream.Run {self._recording.run_id} rank={self.rank} attempt={self.attempt}>"

    def __copy__(self) -> Run:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Run:
        return self

    def __reduce__(self) -> tuple[Callable[..., Run], tuple[Any, ...]]:
        joining = self._recording.joining.with_assigned_id(self._recording.position.run_id).for_joiner()
        return _unpickled, (joining, self._settings, self._handle_id, self._buffer.next_step, self._finished)

    def _set(self, kind: str, entries: Mapping[str, Any]) -> None:
        logger = self._logger
        try:
            good = _params_tags.validate(kind, entries, logger.entry_refused)
            if self._finished:
                logger.warn_limited(f"late {kind}", "%ss refused: the run is finished", kind)
            elif good:
                self._recording.put(kind, good)
        except Exception as error:
            logger.warn("%ss refused: %s", kind, describe(error))

    def _on_no_thread(self) -> None:
        if not self._finished:
            self._put = self._put_without_thread

    def _put_without_thread(self, metrics: Mapping[str, Any], step: int | None, time_unix_us: int | None) -> None:
        """While no thread can be started, each log() may be the one that starts it."""
        if self._recorder.start():
            self._put = self._buffer.put
        self._buffer.put(metrics, step, time_unix_us)

    def _log_failed(self, metrics: Any, error: Exception) -> None:
        """Counts and notes a row that raised. Calls no code of its values, which may raise again or read a device."""
        try:
            points = max(1, len(metrics))
        except Exception:
            points = 1
        self._buffer.refuse(points, "log_failed")
        self._logger.note_refused(f"<{type(metrics).__name__}>", f"could not be logged: {describe(error)}")

    # Called by _lifecycle.

    def _wait_created(self, address: str, run_id: str, timeout_s: float) -> None:
        recording = self._recording
        is_ours = (address, run_id) == (self._settings.address, recording.run_id) and not recording.is_empty()
        if is_ours and self._settings.mode == "online":
            self._wait(lambda: bool(recording.position.run_state), timeout_s)

    def _in_forked_child(self) -> None:
        before = self._recording
        step = self._buffer.next_step
        self._finish_lock = RLock()
        self._base_run_id = ""
        joining = before.joining.with_assigned_id(before.position.run_id).for_joiner()
        self._logger = RunLogger(before.run_id, self._settings.address, self._settings.max_points)
        self._record_as(joining, lazy=True)
        self._buffer.set_next_step(step)

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

    def _finish_in_background(self) -> None:
        """Ends the run of a notebook cell that is run again, without waiting for what is in the journal."""
        if not self._finished:
            self._logger.info("the cell that started this run is run again, so the run ends")
            self._leave()

    def _leave(self) -> None:
        """Closes the handle without waiting: the agent sends what is in the journal."""
        with self._finish_lock:
            if not self._finished:
                self._begin_finish("FINISHED")
                self._put = self._put_late
                self._recording.give_up_values()
                self._recording.leave()
                process_state.remove(self)


class _DisabledRun(Run):
    """Records nothing, with RUNSTREAM_MODE=disabled. Arguments are checked as in other modes."""

    def log(self, metrics: Mapping[str, Any], step: int | None = None, *, time_unix_us: int | None = None) -> None:
        pass

    def _record_as(self, joining: Joining, *, lazy: bool) -> None:
        self._recorder = Recorder()  # is never started
        self._recording = Recording(
            self._settings, joining, self._logger, self._recorder.store_for(self._settings), self._recorder, lazy=True
        )
        self._buffer = self._recording.buffer

    def _set(self, kind: str, entries: Mapping[str, Any]) -> None:
        pass

    def flush(self, timeout: float | None = None) -> bool:
        return True

    def finish(self, status: Status = "FINISHED", timeout: float = _FINISH_TIMEOUT_S) -> bool:
        return True

    def stats(self) -> RunStats:
        return super().stats()._replace(journal="disabled", journal_path="")

    def _in_forked_child(self) -> None:
        pass


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
    system_metrics: bool | None = None,
    token: str | None = None,
    workspace: str | None = None,
) -> Run:
    """Starts a run, or joins one: all processes with the same run id share it.

    Args:
        experiment: Its experiment, created if missing; None: that of the project's runstream.toml, else `Default`.
        name: Its name; None: the service makes one up.
        run_id: 32 hex digits; None: RUNSTREAM_RUN_ID, else derived from the launcher's job (torchrun, Slurm, Open MPI,
            or MASTER_ADDR and MASTER_PORT) with experiment and name, so that all ranks share the run, else a fresh one.
            A run that has ended is RUNNING again when it is resumed by its id.
        rank: The rank of this process, from 0; None: that of torch.distributed, if the program has set it up, else
            RANK, OMPI_COMM_WORLD_RANK, SLURM_PROCID (in a step), LOCAL_RANK, else 0.
        attempt: How often the job was restarted; None: RUNSTREAM_ATTEMPT, TORCHELASTIC_RESTART_COUNT,
            SLURM_RESTART_COUNT, else 0.
        params: As in `Run.log_params`.
        tags: As in `Run.set_tags`.
        address: host:port of the service, with TLS grpcs://host:port; None: RUNSTREAM_ADDRESS, else that of the
            project's runstream.toml, of `runstream login`, or 127.0.0.1:50051.
        system_metrics: Whether the agent logs CPU, memory, disk, network and GPU of this machine to the run; None:
            RUNSTREAM_SYSTEM_METRICS, else not.
        token: The token that says who calls; None: RUNSTREAM_TOKEN, the content of the file RUNSTREAM_TOKEN_FILE, or
            the token of `runstream login`.
        workspace: The workspace of the run; None: RUNSTREAM_WORKSPACE, that of runstream.toml or of the login, else
            the token decides.

    In a program that was started by `runstream exec`, it joins the run of that command, and the command ends the run:
    `experiment` and `name` are then ignored, unless `run_id` names another run.

    A run that is still open when the interpreter ends is flushed for up to 10 s (RUNSTREAM_EXIT_TIMEOUT_S) and
    finished. In a notebook, an open run that the same cell started earlier is finished first.

    Waits neither for the network nor for the disk. Raises TypeError or ValueError for an argument of a wrong form;
    nothing raises later.
    """
    environ = dict(os.environ)
    settings = _settings.from_environment(address, environ, token=token, workspace=workspace)
    if experiment is None:
        experiment = settings.experiment or None
    arguments = StartArguments.checked(experiment, name, run_id, rank, attempt, params, tags)
    identity, base_run_id = _identify(environ, arguments.identity_arguments)
    outer = OuterRun.of(environ, identity.run_id)
    joining = Joining.for_new_handle(
        identity,
        outer.experiment if outer else experiment or "",
        outer.name if outer else name or "",
        user_name(),
        settings.address,
        system_metrics=settings.system_metrics if system_metrics is None else bool(system_metrics),
    )
    if outer:
        joining = joining._replace(ends_run=False)
    if settings.mode == "disabled":
        return _DisabledRun(joining, settings)
    _identity.leave_for_ranks(identity, experiment, name)
    cell = _notebook.running_cell()
    if cell:
        process_state.finish_runs_of_cell(cell)
    run = Run(joining, settings, base_run_id)
    run._cell = cell
    process_state.add(run)
    if identity.warning:
        run._logger.warn("%s", identity.warning)
    run._recorder.wake()
    if arguments.params:
        run.log_params(arguments.params)
    if arguments.tags:
        run.set_tags(arguments.tags)
    return run


def open_handle(joining: Joining, settings: _settings.Settings, handle_id: str = "") -> Run:
    """Opens a handle. With a `handle_id`, its journal is made with the first record, not at once."""
    if settings.mode == "disabled":
        return _DisabledRun(joining, settings, handle_id=handle_id)
    run = Run(joining, settings, handle_id=handle_id)
    process_state.add(run)
    return run


def _unpickled(joining: Joining, settings: _settings.Settings, handle_id: str, next_step: int, finished: bool) -> Run:
    """The handle in a process that received it by pickle: always the same one, as it may be sent with each of many
    tasks."""
    kind = _DisabledRun if settings.mode == "disabled" else Run
    run = process_state.handle(handle_id)
    if not isinstance(run, Run):
        settings = _settings.in_this_process(settings, os.environ)
        run = kind(joining, settings, handle_id=handle_id)
        run._buffer.set_next_step(next_step)
        if finished:
            run.finish(timeout=0)
        elif kind is Run:
            process_state.add(run)
    return run


def _identify(environ: dict[str, str], chosen: dict[str, Any]) -> tuple[_identity.Identity, str]:
    """The identity, and for a derived id the id of the job's first run: a second run of the same job and name in this
    process gets another id."""
    identity = _identity.resolve(environ, **chosen)
    if not identity.derived:
        return identity, ""
    base_run_id = identity.run_id
    run_index = _finished.get(base_run_id, 0)
    if run_index:
        identity = _identity.resolve(environ, **chosen, run_index=run_index)
    return identity, base_run_id


def _wait_seconds(timeout: object) -> float:
    """A timeout in seconds from any argument, as finish() never raises: what is no number becomes the default, and
    infinity the longest possible wait."""
    try:
        seconds = float(timeout)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return _FINISH_TIMEOUT_S
    return min(max(0.0, seconds), threading.TIMEOUT_MAX) if seconds == seconds else _FINISH_TIMEOUT_S
