"""A command in a terminal of its own, as a person would run it."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

# Makes stdin the controlling terminal, so that Ctrl-C becomes a signal to the whole group, then becomes the command.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A context manager: ends the command if it still runs."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], *, columns: int = 80) -> None:
        self._main, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *command],
            env={"TERM": "xterm-256color", **environment},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        self.raw = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a read can end within a character

    @property
    def text(self) -> str:
        """Everything that was written so far, without escape sequences."""
        return _ESCAPES.sub("", self.raw).replace("\r\n", "\n")

    def wait_for(self, pattern: str, *, timeout_s: float = 60) -> re.Match[str]:
        """Reads until the text matches the pattern."""
        give_up = time.monotonic() + timeout_s
        while (found := re.search(pattern, self.text)) is None:
            if not self._read(give_up - time.monotonic()):
                raise AssertionError(f"no {pattern!r} in:\n{self.text}")
        return found

    def press(self, keys: bytes) -> None:
        """Types these keys."""
        os.write(self._main, keys)

    def wait(self, *, timeout_s: float = 60) -> int:
        """Reads to the end; returns the exit code."""
        give_up = time.monotonic() + timeout_s
        while self._read(give_up - time.monotonic()):
            pass
        return self.process.wait(timeout=max(1.0, give_up - time.monotonic()))

    def _read(self, timeout_s: float) -> bool:
        """Reads the next output; False at the end, or if there is none in time."""
        if not select.select([self._main], [], [], max(0.0, timeout_s))[0]:
            return False
        data = b""
        with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
            data = os.read(self._main, 65_536)
        self.raw += self._decoder.decode(data)
        return bool(data)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()  # so that it ends what it has started
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        os.close(self._main)
