"""The agent's process.

A lock makes sure that it is the only one in its directory. It ends when everything is sent and no process writes any
more, so that no process is left behind; the next training process starts another one. gRPC is imported after the
process has detached itself, as its threads would not survive the fork.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from runstream._stored_credentials import StoredCredentials
from runstream._threads import check_threads_for_grpc
from runstream.agent.imports import no_garbage_collection
from runstream.journal import Directory

if TYPE_CHECKING:
    from runstream.journal.locks import FileLock
    from runstream.transport.transport import Transport

IDLE_VARIABLE = "RUNSTREAM_AGENT_IDLE_S"
_IDLE_S = 10.0
GRACE_S = 3.0  # after SIGTERM, how long it continues to send
_NICENESS = 5
_CHECK_S = 1.0
_LOG_BYTES = 1024 * 1024
_MAX_FDS = 65_536

logger = logging.getLogger("runstream_agent")  # not below "runstream", whose handlers belong to the program


class Companion(Protocol):
    """Something that runs in threads of the agent, as long as the agent does."""

    def start(self) -> None:
        """Starts its threads. If it raises OSError, the agent does not start."""

    def stop(self) -> None:
        """Ends its journals, and returns when they are complete."""


@dataclass(frozen=True)
class Options:
    """How the agent was started. `detach`: it runs in the background. `stay`: an operator has started it, and it does
    not end when it is idle. `companion` makes a Companion for the directory. `grace_s`: after SIGTERM, how long it
    continues to send what is left."""

    directory: Path
    detach: bool = False
    stay: bool = False
    companion: Callable[[Directory], Companion] | None = None
    grace_s: float = GRACE_S


def run(options: Options) -> int:
    """Runs the agent; returns the exit status. With `detach`, the calling process ends at once, and the agent runs in
    another one."""
    if options.detach:
        _become_daemon()
    directory = Directory(options.directory)
    try:
        directory.make()
        if options.detach:
            _redirect_streams(directory.agent_log_path)
        lock = directory.agent_lock()
    except OSError as error:
        sys.stderr.write(f"the agent cannot use {options.directory}: {error}\n")
        return 1
    if lock is None:
        if not options.detach:
            sys.stderr.write(
                f"an agent already runs for {directory.path} (pid {directory.agent_pid()}): end it first\n"
            )
        return 0 if options.detach else 1
    _set_up_log(directory.agent_log_path, to_stderr=not options.detach)
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    status = 1
    companion = options.companion(directory) if options.companion else None
    agent = Agent(directory, lock, options, companion)
    agent.handle_signals()  # before the log says that the companion listens
    try:
        check_threads_for_grpc()
        if companion is not None:
            companion.start()
    except (OSError, RuntimeError) as error:
        logger.error("the agent cannot start: %s", error)
        return 1
    try:
        status = agent.run()
    except Exception:
        logger.exception("the agent has ended because of an error")
    if options.detach:
        logging.shutdown()
        os._exit(status)  # everything is saved, and gRPC's threads may delay the end of the interpreter
    return status


class Agent:
    """The agent's main loop: sends journals, samples the machine, writes the status, and finds out when to end."""

    def __init__(
        self, directory: Directory, lock: FileLock, options: Options, companion: Companion | None = None
    ) -> None:
        self._companion = companion
        self._stopper: threading.Thread | None = None  # stops the companion, while its last journals are sent
        self._directory = directory
        self._credentials = StoredCredentials(directory.credentials_path)
        self._lock = lock
        self._options = options
        self._idle_s = _idle_s(os.environ)
        self._stopping = False
        self._ending_s: float | None = None  # after a signal, when to end at the latest, by the monotonic clock
        self._busy_s = time.monotonic()  # when there was something to do last
        self._checked_s = 0.0  # when it was checked last whether the agent is idle

    def run(self) -> int:
        """Runs until it is idle, stopped by a signal, or its directory is gone; returns the exit status."""
        with no_garbage_collection():
            from runstream.agent.status import StatusFile
            from runstream.system_metrics import SystemMetrics
            from runstream.transport.transport import Transport

        transport = Transport(self._directory, log=_log)
        metrics = SystemMetrics(self._directory, logger.warning)
        status = StatusFile(self._directory, transport, self._options.stay)
        logger.info("the agent has started for %s", self._directory.path)
        why = "a signal"
        try:
            while not self._over(transport, metrics):
                transport.run_once()
                metrics.tick()
                status.write()
            why = (
                "a signal"
                if self._stopping
                else "nothing is left to do"
                if self._lock.in_place()
                else "its directory is gone"
            )
        finally:
            metrics.close()
            self._stop_companion()
            transport.stop()
            status.close()
        self._lock.release()
        logger.info("the agent has ended: %s", why)
        return 0

    def _over(self, transport: Transport, metrics: Any) -> bool:
        now_s = time.monotonic()
        if self._stopping:
            if self._ending_s is None:
                self._ending_s = now_s + self._options.grace_s
                metrics.close()
                self._stop_companion()
            stopped = self._stopper is None or not self._stopper.is_alive()
            return now_s >= self._ending_s or (stopped and transport.drained())
        if now_s - self._checked_s < _CHECK_S:
            return False
        self._checked_s = now_s
        if not self._lock.in_place():
            return True
        if self._options.stay or metrics.active or transport.work_left():
            self._busy_s = now_s
        self._directory.delete_abandoned()
        if (named := transport.named_credentials()) is not None:
            self._credentials.delete_unused(named)
        return now_s - self._busy_s >= self._idle_s

    def _stop_companion(self) -> None:
        if self._companion is not None and self._stopper is None:
            self._stopper = threading.Thread(target=self._companion.stop, name="stop-companion", daemon=True)
            self._stopper.start()

    def handle_signals(self) -> None:
        """Lets SIGTERM and SIGINT end `run`, with everything saved, from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # `runstream exec` blocks signals to wait for them, and processes that it starts inherit that.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:  # a second signal ends it at once
            self._ending_s = 0.0
        self._stopping = True


def _become_daemon() -> None:
    """Detaches the process by forking twice. Returns in the agent's process; the original one ends."""
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)  # the agent leads no session, so it cannot get a terminal
    os.chdir("/")
    os.umask(0o077)


def _redirect_streams(log_path: Path) -> None:
    """Closes all inherited descriptors, so that a reader of the training's output does not wait for the agent. What
    libraries print goes to the log."""
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, source in ((0, null), (1, null), (2, log)):
        os.dup2(source, target)
    os.closerange(3, min(os.sysconf("SC_OPEN_MAX"), _MAX_FDS))


def _set_up_log(path: Path, to_stderr: bool) -> None:
    from logging.handlers import RotatingFileHandler

    handlers: list[logging.Handler] = []
    with contextlib.suppress(OSError):
        handlers.append(RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8"))
    if to_stderr:
        handlers.append(logging.StreamHandler())
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logging.raiseExceptions = False  # on a full disk, there is no place to report it


def _log(level: str, text: str) -> None:
    logger.log(getattr(logging, level.upper(), logging.INFO), text)


def _idle_s(environ: Any) -> float:
    text = environ.get(IDLE_VARIABLE, "").strip()
    with contextlib.suppress(ValueError):
        if text and 0 <= float(text) < float("inf"):
            return float(text)
    if text:
        logger.warning("%s=%r is not a number of seconds; using %g", IDLE_VARIABLE, text, _IDLE_S)
    return _IDLE_S
