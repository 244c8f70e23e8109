"""Agents that programs under test have started."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path


def end_agents(directory: Path) -> None:
    """Ends every agent of a directory, also one that has only just been started, and waits until they are gone."""
    quiet = 0
    give_up = time.monotonic() + 60
    while quiet < 3:  # one that becomes a daemon changes its process id between two looks
        agents = _agents(directory)
        quiet = 0 if agents else quiet + 1
        for pid in agents:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert time.monotonic() < give_up, f"agents {agents} do not end"
        time.sleep(0.02)


def _agents(directory: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().split(b"\0")
            if b"runstream.agent" in command and os.fsencode(directory) in command:
                found.append(int(process.name))
    return found
