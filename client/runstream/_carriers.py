"""What sends the journals to the service: an agent in its own process or, where none can be started, a thread of this
process.

Only the recorder's thread uses a carrier, except for `stop`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream._run_logger import logger, warn_about_process
from runstream._settings import Settings
from runstream._threads import are_threads_patched, check_threads_for_grpc

if TYPE_CHECKING:
    from runstream._endpoint import Endpoint
    from runstream.journal import Directory, MemoryJournal, Position
    from runstream.journal.locks import FileLock

_FAILED_STARTS = 2  # after this many failed starts of an agent, a thread does its work


class Carrier:
    """Leaves journals on disk to an operator's agent or to `runstream sync`; a thread sends those in memory."""

    def __init__(self) -> None:
        self._memory_thread = _TransportThread()

    def ensure(self, directory: Directory) -> None:
        """Makes sure that something sends the journals of the directory. Called about once a second; never raises."""

    def add(self, journal: MemoryJournal, endpoint: Endpoint) -> None:
        """Sends a journal in memory from a thread of this process. Raises OSError if no thread can be started."""
        self._memory_thread.start(None)
        self._memory_thread.transport.add(journal, endpoint)

    def position(self, journal_id: str) -> Position | None:
        """The position of a journal in memory; None if it is unknown."""
        return self._memory_thread.transport.position(journal_id) if self._memory_thread.runs else None

    def appended(self) -> None:
        """Wakes the thread, as something was appended to a journal."""
        if self._memory_thread.runs:
            self._memory_thread.transport.wake()

    def stop(self) -> None:
        """Stops the threads at the end of the process; waits a few seconds for the last acknowledgements."""
        self._memory_thread.stop()

    def abandon_in_child(self) -> None:
        """In a forked child: closes what was inherited, as everything belongs to the parent."""
        self._memory_thread.abandon_in_child()


class ThreadCarrier(Carrier):
    """Sends all journals from threads of this process, with RUNSTREAM_AGENT=thread."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = _TransportThread()  # for the journals on disk

    def ensure(self, directory: Directory) -> None:
        if not self._thread.runs:
            try:
                self._thread.start(directory)
            except OSError as error:
                warn_about_process(
                    "nothing is sent to the service for now (%s); the journal is kept", error, about="carrier"
                )

    def appended(self) -> None:
        super().appended()
        if self._thread.runs:
            self._thread.transport.wake()

    def stop(self) -> None:
        self._thread.stop()
        super().stop()

    def abandon_in_child(self) -> None:
        self._thread.abandon_in_child()
        super().abandon_in_child()


class AgentCarrier(ThreadCarrier):
    """Starts an agent if none runs; if that fails repeatedly, sends from a thread of this process."""

    def __init__(self) -> None:
        # Imported here, since `import runstream` should be quick; and not in the recorder's thread: a process that
        # forks in the middle of an import leaves a child that cannot import the same module.
        from runstream.agent.launch import ensure_agent

        super().__init__()
        self._ensure_agent = ensure_agent

    def ensure(self, directory: Directory) -> None:
        if self._thread.runs:
            return
        state = self._ensure_agent(directory)
        if state.state == "failed" and state.failures >= _FAILED_STARTS:
            warn_about_process(
                "no agent can be started (%s). A thread of this process sends the journals in %s instead: gRPC runs in "
                "this process, where a fork or a lack of threads may disturb it, and what is not sent when the process "
                "ends waits for the next one. Start an agent yourself (`runstream agent`), or accept this with "
                "RUNSTREAM_AGENT=thread",
                state.reason,
                directory.path,
            )
            super().ensure(directory)


def carrier_for(settings: Settings) -> Carrier:
    """The carrier for these settings."""
    if settings.mode == "online" and settings.agent != "external":
        return AgentCarrier() if settings.agent == "auto" else ThreadCarrier()
    return Carrier()


class _TransportThread:
    """A transport in this process, started when it is needed. It imports gRPC."""

    def __init__(self) -> None:
        self.transport: Any = None
        self._lock: FileLock | None = None  # the agent's

    @property
    def runs(self) -> bool:
        """Whether the transport was started."""
        return self.transport is not None

    def start(self, directory: Directory | None) -> None:
        """Starts the transport, unless another process sends the journals of this directory. Raises OSError if it
        cannot be started."""
        if self.runs:
            return
        if are_threads_patched():
            raise OSError(
                "gevent or eventlet has replaced the threads of this process, and gRPC needs real ones: start an agent "
                "yourself, `runstream agent`"
            )
        if directory is not None:
            self._lock = directory.agent_lock()
            if self._lock is None:
                return
        try:
            from runstream.transport.transport import Transport

            check_threads_for_grpc()
            transport = Transport(directory, log=_log)
            transport.start()
        except (ImportError, RuntimeError) as error:  # gRPC is broken here, or there are too many threads
            self._release()
            raise OSError(f"no transport can be started in this process: {error}") from error
        self.transport = transport

    def stop(self) -> None:
        """Waits a few seconds for the last acknowledgements, and saves the positions."""
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.stop()
        self._release()

    def abandon_in_child(self) -> None:
        """The parent continues; only the descriptor of its lock is closed."""
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _log(level: str, text: str) -> None:
    logger.debug("%s: %s", level, text)  # users see what concerns a run in its notices
