"""Fixtures of the client's tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

import runstream
from runstream import _settings
from runstream._lifecycle import process_state
from runstream_service.database.embedded import EmbeddedPostgres
from tests.unit.client.real_service import RealServer, RealService
from tests.unit.client.reference_service import ReferenceService
from tests.unit.client.services import Service
from tests.unit.client.stored_journals import TestAgent


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not depend on the launcher that started pytest."""
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "SLURM_JOB_ID", "SLURM_PROCID", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("LOCAL_RANK", "NODE_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PMIX_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("SLURM_STEP_NUM_TASKS", "RUNSTREAM_RUNS_OF_RANK_0", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("RUNSTREAM_RUN_ID", "RUNSTREAM_ATTEMPT", "RUNSTREAM_ADDRESS", "OMPI_COMM_WORLD_RANK", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests with a service run against the reference service and against the real one. The mark `reference_only` or
    `real_only`, of a test or a module, says why one of them is enough."""
    if "service" in metafunc.fixturenames:
        kinds = {"reference_only": ["reference"], "real_only": ["real"]}
        marks = [mark.name for mark in metafunc.definition.iter_markers() if mark.name in kinds]  # the closest first
        metafunc.parametrize("service", kinds[marks[0]] if marks else ["reference", "real"], indirect=True)


@pytest.fixture(scope="module")
def real_server(postgres: EmbeddedPostgres) -> Iterator[RealServer]:
    """The real service. Other modules fork this process, so it must not have threads for the whole session."""
    with RealServer(postgres) as server:
        yield server


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """The reference service or the real one. At the end, no rule of the contract may have been broken."""
    if request.param == "real":
        with RealService(request.getfixturevalue("real_server")) as real:
            yield real
    else:
        reference = ReferenceService()
        yield reference
        reference.stop()
        assert reference.ledger.violations == []


@pytest.fixture
def agent(journal_directory: Path) -> Iterator[TestAgent]:
    """Stores what is in the journals. While it lives, no real agent is started."""
    agent = TestAgent(journal_directory)
    yield agent
    agent.stop()


class StartRun(Protocol):
    """`runstream.start_run`; `settings` replace defaults."""

    def __call__(
        self,
        experiment: str | None = None,
        name: str | None = None,
        *,
        run_id: str | None = None,
        rank: int | None = None,
        attempt: int | None = None,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
        address: str | None = None,
        settings: Mapping[str, float] | None = None,
    ) -> runstream.Run: ...


@pytest.fixture
def start_run(monkeypatch: pytest.MonkeyPatch) -> Iterator[StartRun]:
    """Starts runs; what is left open is finished."""
    runs: list[runstream.Run] = []
    from_environment = _settings.from_environment

    def start_run(
        experiment: str | None = None,
        name: str | None = None,
        *,
        settings: Mapping[str, float] | None = None,
        **arguments: Any,
    ) -> runstream.Run:
        with monkeypatch.context() as patch:
            patch.setattr(
                _settings,
                "from_environment",
                lambda *given, **named: from_environment(*given, **named)._replace(**dict[str, Any](settings or {})),
            )
            runs.append(runstream.start_run(experiment, name, **arguments))
        return runs[-1]

    yield start_run
    for run in runs:
        run.finish(timeout=0.2)


@pytest.fixture
def start(agent: TestAgent, start_run: StartRun) -> StartRun:
    """Starts runs that the agent of this test stores."""
    return start_run


@pytest.fixture
def start_carried(start_run: StartRun, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartRun]:
    """Starts runs whose points a thread of this process sends to the service."""
    monkeypatch.setenv("RUNSTREAM_AGENT", "thread")
    yield start_run
    process_state.recorder.stop_stores()
