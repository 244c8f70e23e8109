"""Agents as processes of their own; none is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from runstream.agent.launch import ensure_agent
from runstream.journal import Directory
from tests.support.agents import short_lived_agents
from tests.unit.client.transport.conftest import until


def started(directory: Directory) -> psutil.Process:
    """An agent that runs."""
    until(lambda: ensure_agent(directory).state == "running" and directory.agent_pid())
    return psutil.Process(directory.agent_pid())


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Directory]:
    """An empty one, whose agents end soon when they are idle."""
    with short_lived_agents(tmp_path / "state", monkeypatch) as made:
        yield made
