"""Forwards the output of a program unchanged, and keeps its last lines."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import struct
import termios
import threading

_KEPT_BYTES = 64 * 1024  # the oldest are dropped
MAX_CHARACTERS = 8_000  # of a tag
_CHUNK_BYTES = 64 * 1024
# After the end of the program, its remaining output is read: at most as much as a pipe can hold, and until nothing
# comes for a moment. (Processes that it has left behind may keep the output open, and continue to write.)
_LAST_BYTES, _LAST_PAUSE_S = 1024 * 1024, 0.1
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class LastLines:
    """The end of what was written to one or two streams, as a person would read it."""

    def __init__(self) -> None:
        self._whole = bytearray()  # complete lines
        self._begun: dict[int, bytes] = {}  # the incomplete last line of each stream
        self._lock = threading.Lock()

    def add(self, stream: int, data: bytes) -> None:
        """Adds data of a stream. Lines of two streams do not mix."""
        with self._lock:
            lines, newline, rest = (self._begun.get(stream, b"") + data).rpartition(b"\n")
            self._begun[stream] = rest[-_KEPT_BYTES:]
            self._whole += lines + newline
            if len(self._whole) > 2 * _KEPT_BYTES:
                del self._whole[:-_KEPT_BYTES]

    def text(self) -> str:
        """The last lines, at most MAX_CHARACTERS, without colours. Of lines that were redrawn, such as progress bars,
        only the last state is kept. All lines are complete, unless the last one alone is too long."""
        with self._lock:
            raw = b"\n".join(
                [bytes(self._whole[-_KEPT_BYTES:]).removesuffix(b"\n"), *filter(None, self._begun.values())]
            )
        lines = _ESCAPES.sub("", raw.decode(errors="replace")).strip("\n").split("\n")
        shown = [_CONTROLS.sub("", line.rstrip("\r").rpartition("\r")[2]).rstrip() for line in lines]
        text = "\n".join(shown).rstrip()
        if len(text) <= MAX_CHARACTERS:
            return text
        _, _, whole = text[-MAX_CHARACTERS - 1 :].partition("\n")
        return whole or text[-MAX_CHARACTERS:]


class Pump:
    """Forwards what a program writes to `target`: through a pty if that is a terminal, so that the program still has a
    terminal, else through a pipe. `write_end` is the program's descriptor."""

    def __init__(self, target: int, last_lines: LastLines) -> None:
        self._target = target
        self._last_lines = last_lines
        self._is_terminal = os.isatty(target)
        if self._is_terminal:
            self._read_end, self.write_end = os.openpty()
            self.resize()
            _leave_unchanged(self.write_end)
        else:
            self._read_end, self.write_end = os.pipe()
        self._ended, self._end = os.pipe()
        self._is_over = False
        self._last_bytes = _LAST_BYTES
        self._thread = threading.Thread(target=self._run, name="runstream-output", daemon=True)

    def resize(self) -> None:
        """Gives the program the size of the terminal."""
        if self._is_terminal:
            with contextlib.suppress(OSError):
                size = fcntl.ioctl(self._target, termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
                fcntl.ioctl(self._read_end, termios.TIOCSWINSZ, size)

    def start(self) -> None:
        """Starts forwarding, once the program has been started with `write_end`."""
        os.close(self.write_end)
        self._thread.start()

    def finish(self) -> None:
        """Forwards what is left, after the program has ended."""
        self._is_over = True
        os.close(self._end)
        self._thread.join()

    def _run(self) -> None:
        while self._has_more():
            try:
                data = os.read(self._read_end, _CHUNK_BYTES)
            except OSError:  # EIO: no process has the terminal open any more
                data = b""
            if not data:
                break
            self._last_lines.add(self._target, data)
            if self._is_over:
                self._last_bytes -= len(data)
            try:
                _write_all(self._target, data)
            except OSError:  # nobody reads, as in `... | head`: then the program's next write fails as usual
                break
        os.close(self._read_end)

    def _has_more(self) -> bool:
        readable, _, _ = select.select([self._read_end, self._ended], [], [])
        if self._ended not in readable:
            return True
        return self._last_bytes > 0 and bool(select.select([self._read_end], [], [], _LAST_PAUSE_S)[0])


def _write_all(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except BlockingIOError:  # noqa: PERF203 (another process has made the descriptor non-blocking)
            select.select([], [target], [])


def _leave_unchanged(terminal: int) -> None:
    """Turns off the output processing of a pty: the real terminal translates newlines, and doing it twice would change
    the output."""
    attributes = termios.tcgetattr(terminal)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)
