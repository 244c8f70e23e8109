"""Finds and ends agents that tests, or programs under test, have started."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from runstream.journal import Directory
from tests.support.polling import until_now


def agents_of(directory: Path) -> list[psutil.Process]:
    """The processes that are agents of this directory."""
    found = []
    module, argument = b"runstream.agent", os.fsencode(directory)
    for pid in psutil.pids():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            command = _command_line(pid)
            if module in command and {module, argument} <= {*command.split(b"\0")}:
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
    return found


def _command_line(pid: int) -> bytes:
    """The words of a process, each with a null byte at its end.

    Those of all processes are read after each test: by system calls alone, where the kernel has a file for them. With
    psutil or pathlib, this took more processor time than many of the tests.
    """
    if not psutil.LINUX:
        return b"\0".join(map(os.fsencode, psutil.Process(pid).cmdline()))
    try:
        file = os.open(f"/proc/{pid}/cmdline", os.O_RDONLY)
    except OSError:  # it has ended
        return b""
    try:
        return os.read(file, 1 << 16)
    except OSError:
        return b""
    finally:
        os.close(file)


def gone(process: psutil.Process) -> bool:
    """Whether a process has ended. (Where nothing reaps orphans, as in some containers, it stays in the table.)"""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def kill(process: psutil.Process) -> None:
    """Kills a process (kill -9), and waits until it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGKILL)
    until_now(lambda: gone(process))


def end_agents(directory: Path) -> None:
    """Ends every agent of a directory, also one that has only just been started, and waits until they are gone."""
    if not Directory(directory).agent_log_path.exists():  # it is made before an agent is started
        return
    quiet = 0
    give_up = time.monotonic() + 60
    while quiet < 3:  # one that becomes a daemon changes its process id between two looks
        agents = agents_of(directory)
        quiet = 0 if agents else quiet + 1
        for process in agents:
            kill(process)
        assert time.monotonic() < give_up, f"agents {agents} do not end"
        time.sleep(0.02)


@contextlib.contextmanager
def short_lived_agents(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Directory]:
    """An empty directory for journals, whose agents end soon when they are idle. None is left behind."""
    monkeypatch.setenv("RUNSTREAM_AGENT_IDLE_S", "1")
    directory = Directory(path)
    directory.make()
    yield directory
    end_agents(path)
