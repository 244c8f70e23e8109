"""Starts the worker processes, reads their reports, and ends them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from types import TracebackType

from runstream_service.demo.exchange import Exchange
from runstream_service.demo.failure import DemoFailed
from runstream_service.demo.model import Perceptron
from runstream_service.demo.worker import HIDDEN, Failed, Finished, Message, Task, work

# The ranks share the machine's cores; more threads in each of them would only slow each other down.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_FINISH_S, _STOP_S = 10.0, 2.0  # how long ranks may take to finish their run, or to stop after an error


class Crew:
    """One process per task. A context manager that leaves no process behind."""

    def __init__(self, tasks: list[Task], journals: str) -> None:
        """`journals`: the directory of the journals, so that the demo leaves nothing in the user's own."""
        # Not forked: this process has threads, and every rank should start like one that a launcher starts.
        context = multiprocessing.get_context("spawn")
        # Kept in an attribute: its semaphores are unlinked when it is deleted, and a worker opens them when it has
        # started.
        self._exchange = Exchange(context, ranks=len(tasks), size=len(Perceptron(HIDDEN, seed=1).parameters))
        self._ranks: dict[Connection, int] = {}
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._unfinished = {task.rank for task in tasks}
        os.environ.update(dict.fromkeys(_ONE_THREAD, "1"), RUNSTREAM_DIR=journals)
        for task in tasks:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=work, args=(task, self._exchange, sender), daemon=True)
            with _without_interrupts():
                process.start()
            sender.close()  # only the worker has this end now, so its death is the end of the file for the receiver
            self._ranks[receiver] = task.rank
            self._processes.append(process)

    @property
    def working(self) -> bool:
        """Whether any rank has not finished yet."""
        return bool(self._unfinished)

    def listen(self, timeout_s: float) -> Iterator[Message]:
        """The reports since the last call; waits at most `timeout_s` for the first. Raises DemoFailed if a rank
        failed."""
        for connection in wait(list(self._ranks), timeout_s):
            assert isinstance(connection, Connection)
            rank = self._ranks[connection]
            try:
                message: Message = connection.recv()
            except EOFError:
                del self._ranks[connection]
                if rank in self._unfinished:
                    raise DemoFailed(f"rank {rank} ended before it had finished training") from None
                continue
            if isinstance(message, Failed):
                raise DemoFailed(f"rank {rank} failed:\n{message.why}")
            if isinstance(message, Finished):
                self._unfinished.discard(rank)
            yield message

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if error is not None:
            for process in self._processes:
                process.terminate()
        # One deadline for all of them: without a service, each would wait for it.
        give_up = time.monotonic() + (_FINISH_S if error is None else _STOP_S)
        for process in self._processes:
            process.join(max(0.0, give_up - time.monotonic()))
        for process in self._processes:
            if process.is_alive():
                process.kill()
                process.join()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Blocks Ctrl-C in the block, so that a process that is started there never gets it. The terminal sends it to all
    processes, but only the parent should react, and end the others in order."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
