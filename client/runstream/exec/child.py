"""Starts the program and waits for it. It is in the same process group, so that the shell's job control works as
usual."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from runstream.exec.output import LastLines, Pump

_PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_WAITED_FOR = frozenset({*_PASSED_ON, signal.SIGCHLD, signal.SIGWINCH})
_PERIOD_S = 30.0


class Child:
    """A program and its output. After `block_signals`, signals are blocked, also in threads that are started later, so
    that `wait` receives all of them."""

    def __init__(self) -> None:
        self.last_lines = LastLines()
        self.was_signalled = False
        self._mask: Sequence[int] = ()
        self._pumps: list[Pump] = []
        self._pid = 0

    def block_signals(self) -> None:
        """Blocks signals; to be called before anything is started. Raises ValueError on systems other than Linux."""
        if not hasattr(signal, "sigtimedwait"):
            raise ValueError("runstream exec needs Linux; elsewhere, call runstream.start_run() in the program")
        self._mask = list(signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR))

    def release_signals(self) -> None:
        """Unblocks signals after the end of the program, so that Ctrl-C ends this process again."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def start(self, command: list[str], environ: Mapping[str, str]) -> None:
        """Starts the program. Raises OSError if it cannot be started."""
        ends = self._make_pumps()
        self._pid = os.posix_spawnp(
            command[0],
            command,
            environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, pump.write_end, number) for number, pump in ends.items()],
            setsigmask=self._mask,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # Python ignores these two
        )
        for pump in self._pumps:
            pump.start()

    def wait(self, periodically: Callable[[], None]) -> int:
        """Waits for the program; returns its exit code, or minus the number of the signal that ended it. Meanwhile
        forwards signals, and calls `periodically` every 30 s."""
        next_s = time.monotonic() + _PERIOD_S
        while True:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                break
            found = signal.sigtimedwait(_WAITED_FOR, max(0.0, next_s - time.monotonic()))
            if found is not None:
                self._pass_on(found)
            elif time.monotonic() >= next_s:
                next_s = time.monotonic() + _PERIOD_S
                periodically()
        for pump in self._pumps:
            pump.finish()
        return os.waitstatus_to_exitcode(status)

    def _pass_on(self, found: signal.struct_siginfo) -> None:
        number = found.si_signo
        if number == signal.SIGCHLD:
            return
        if number == signal.SIGWINCH:
            for pump in self._pumps:
                pump.resize()
        else:
            self.was_signalled = True
            if found.si_code > 0:  # sent by the terminal (Ctrl-C) to the whole process group, including the program
                return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)

    def _make_pumps(self) -> dict[int, Pump]:
        """The pumps, by descriptor of the program. If output and errors go to the same place, they share one, so that
        they keep their order."""
        targets = [number for number in (1, 2) if _is_open(number)]
        ends: dict[int, Pump] = {}
        for number in targets:
            if ends and os.path.samestat(os.fstat(1), os.fstat(2)):
                ends[number] = ends[1]
            else:
                ends[number] = Pump(number, self.last_lines)
                self._pumps.append(ends[number])
        return ends


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
