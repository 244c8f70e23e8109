"""Agents that tests, or programs under test, have started."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from runstream.agent import launch
from runstream.journal import Directory
from tests.support.polling import until_now


def agents_of(directory: Path) -> list[psutil.Process]:
    """The processes that are agents of this directory."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            command = _command_line(pid)
            if "runstream.agent" in command and str(directory) in command:
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
    return found


def _command_line(pid: int) -> list[str]:
    """After most tests, those of all processes are read: directly, where the kernel has a file for it."""
    if not psutil.LINUX:
        return psutil.Process(pid).cmdline()
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # it has ended
        return []


def gone(process: psutil.Process) -> bool:
    """Whether it has ended. (Where nothing reaps orphans, as in some containers, it stays in the table.)"""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def kill(process: psutil.Process) -> None:
    """Waits until it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGKILL)
    until_now(lambda: gone(process))


def end_agents(directory: Path) -> None:
    """Ends every agent of a directory, also one that has only just been started, and waits until they are gone."""
    quiet = 0
    give_up = time.monotonic() + 60
    was_started = directory in launch._launchers or Directory(directory).agent_lock_path.exists()
    while quiet < (3 if was_started else 1):  # one that becomes a daemon changes its process id between two looks
        agents = agents_of(directory)
        quiet = 0 if agents else quiet + 1
        was_started = was_started or bool(agents)
        for process in agents:
            kill(process)
        assert time.monotonic() < give_up, f"agents {agents} do not end"
        if was_started:
            time.sleep(0.02)


@contextlib.contextmanager
def short_lived_agents(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Directory]:
    """An empty directory for journals, whose agents end soon when they are idle. None is left behind."""
    monkeypatch.setenv("RUNSTREAM_AGENT_IDLE_S", "1")
    directory = Directory(path)
    directory.make()
    yield directory
    end_agents(path)
