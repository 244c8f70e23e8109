"""Agents as processes of their own; none is left behind."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from runstream.agent.launch import ensure_agent
from runstream.journal import Directory
from tests.unit.client.transport.conftest import until


def agents_of(directory: Directory) -> list[psutil.Process]:
    """The processes that are agents of this directory."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "runstream.agent" in command and str(directory.path) in command:
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
    return found


def started(directory: Directory) -> psutil.Process:
    """An agent that runs."""
    until(lambda: ensure_agent(directory).state == "running" and directory.agent_pid())
    return psutil.Process(directory.agent_pid())


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
    until(lambda: gone(process), 10)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Directory]:
    """An empty one, whose agents end soon when they are idle."""
    monkeypatch.setenv("RUNSTREAM_AGENT_IDLE_S", "1")
    directory = Directory(tmp_path / "state")
    directory.make()
    yield directory
    for process in agents_of(directory):
        kill(process)
