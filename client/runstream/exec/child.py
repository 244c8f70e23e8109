"""The program: it is started in the same process group, so that the shell's job control works as without us."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from runstream.exec.output import LastLines, Pump

_PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_WAITED_FOR = frozenset({*_PASSED_ON, signal.SIGCHLD, signal.SIGWINCH})
_LOOK_EVERY_S = 30.0


class Child:
    """A program and its output. Signals are blocked from `block_signals` on, also in threads that are started after it,
    so that `wait` receives them all."""

    def __init__(self) -> None:
        self.last_lines = LastLines()
        self.was_signalled = False
        self._mask: Sequence[int] = ()
        self._pumps: list[Pump] = []
        self._pid = 0

    def block_signals(self) -> None:
        """Before anything is started. Raises ValueError where signals cannot be waited for."""
        if not hasattr(signal, "sigtimedwait"):
            raise ValueError("runstream exec needs Linux; elsewhere, call runstream.start_run() in the program")
        self._mask = list(signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR))

    def release_signals(self) -> None:
        """After the end of the program: Ctrl-C ends us again."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def start(self, command: list[str], environ: Mapping[str, str]) -> None:
        """Raises OSError if there is no such program."""
        ends = self._make_pumps()
        self._pid = os.posix_spawnp(
            command[0],
            command,
            environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, pump.write_end, number) for number, pump in ends.items()],
            setsigmask=self._mask,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores
        )
        for pump in self._pumps:
            pump.start()

    def wait(self, now_and_then: Callable[[], None]) -> int:
        """Returns the exit code, or minus the number of the signal that ended the program. Passes signals on meanwhile,
        and calls `now_and_then` every half a minute."""
        next_s = time.monotonic() + _LOOK_EVERY_S
        while True:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                break
            found = signal.sigtimedwait(_WAITED_FOR, max(0.0, next_s - time.monotonic()))
            if found is not None:
                self._pass_on(found)
            elif time.monotonic() >= next_s:
                next_s = time.monotonic() + _LOOK_EVERY_S
                now_and_then()
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
            if found.si_code > 0:  # by the terminal (Ctrl-C), to the whole process group: the program has it, too
                return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)

    def _make_pumps(self) -> dict[int, Pump]:
        """By descriptor of the program. Output and errors that go to one place keep their order."""
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
