"""Fixtures: agents in processes of their own, of which none is left behind."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from runstream.agent import launch
from runstream.agent.launch import ensure_agent
from runstream.journal import Directory
from tests.support.agents import gone, short_lived_agents
from tests.unit.client.transport.conftest import until


def started(directory: Directory) -> psutil.Process:
    """Starts an agent; returns its process."""
    until(lambda: ensure_agent(directory).state == "running" and directory.agent_pid())
    return psutil.Process(directory.agent_pid())


def started_without_waits(directory: Directory) -> psutil.Process:
    """Starts an agent also right after others were killed, although a launcher waits longer after each."""

    def running() -> bool:
        state = ensure_agent(directory)
        launch._launchers[directory.path].not_before_s = 0.0
        # For a moment after a start, the lock's file has the pid of the agent before.
        return state.state == "running" and psutil.pid_exists(state.pid) and not gone(psutil.Process(state.pid))

    until(running)
    return psutil.Process(directory.agent_pid())


def works_on(directory: Directory) -> None:
    """Waits until the agent has worked for longer from now on than an idle one stays."""
    enough_unix_us, path = time.time_ns() // 1000 + 1_500_000, directory.agent_status_path
    until(lambda: path.exists() and json.loads(path.read_bytes())["updated_unix_us"] > enough_unix_us)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Directory]:
    """An empty directory for journals, whose agents end soon when they are idle."""
    with short_lived_agents(tmp_path / "state", monkeypatch) as made:
        yield made
