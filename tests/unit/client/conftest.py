"""Fixtures of the client's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import runstream
from runstream import _settings
from runstream._lifecycle import process_state
from tests.unit.client.reference_service import TestService
from tests.unit.client.stored_journals import TestAgent


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not depend on who started them."""
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "SLURM_JOB_ID", "SLURM_PROCID", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("LOCAL_RANK", "NODE_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PMIX_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("SLURM_STEP_NUM_TASKS", "RUNSTREAM_RUNS_OF_RANK_0", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("RUNSTREAM_RUN_ID", "RUNSTREAM_ATTEMPT", "RUNSTREAM_ADDRESS", "OMPI_COMM_WORLD_RANK", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def service() -> Iterator[TestService]:
    """The reference service; at the end, no rule of the contract may have been broken."""
    service = TestService()
    yield service
    service.stop()
    assert service.ledger.violations == []


@pytest.fixture
def agent(journal_directory: Path) -> Iterator[TestAgent]:
    """Stores what is in the journals. No real agent is started as long as it lives."""
    agent = TestAgent(journal_directory)
    yield agent
    agent.stop()


@pytest.fixture
def start_run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., runstream.Run]]:
    """`runstream.start_run`; what is left open is finished. `settings` replace defaults."""
    runs: list[runstream.Run] = []
    from_environment = _settings.from_environment

    def start_run(*args: Any, settings: dict[str, Any] | None = None, **kwargs: Any) -> runstream.Run:
        with monkeypatch.context() as patch:
            patch.setattr(
                _settings,
                "from_environment",
                lambda *given, **named: from_environment(*given, **named)._replace(**settings or {}),
            )
            runs.append(runstream.start_run(*args, **kwargs))
        return runs[-1]

    yield start_run
    for run in runs:
        run.finish(timeout=0.2)


@pytest.fixture
def start(agent: TestAgent, start_run: Callable[..., runstream.Run]) -> Callable[..., runstream.Run]:
    """Starts runs that the agent of this test stores."""
    return start_run


@pytest.fixture
def start_carried(
    start_run: Callable[..., runstream.Run], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., runstream.Run]]:
    """Starts runs whose points a thread of this process brings to the service."""
    monkeypatch.setenv("RUNSTREAM_AGENT", "thread")
    yield start_run
    process_state.recorder.stop_stores()
