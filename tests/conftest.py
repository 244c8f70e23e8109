"""Fixtures that every test may use."""

from __future__ import annotations

import asyncio
import gc
import itertools
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

import runstream
from runstream._lifecycle import process_state
from runstream_service.database.embedded import EmbeddedPostgres
from runstream_service.database.pool import Database
from tests.support.agents import end_agents
from tests.support.clusters import place_cluster
from tests.support.databases import FAST, fresh_database, make_template, short_directory

_numbers = itertools.count(1)
pytest_plugins = ["tests.support.distribution", "tests.support.skips"]

# Until all tests are collected: they, and the modules that they import, are no garbage. Looking for some took 40 % of
# the processor time of a collection, which each worker makes.
gc.disable()
# By default, a look for garbage follows each 700 new objects. They took 6 % of the tests' own processor time.
_GARBAGE = 20_000

# A suite that is started in the background (`nohup make test &`) has signals ignored, and what it starts would inherit
# that: programs under test could not be ended by them. A handler stays here, and is the default in what is started.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)

# What parts of the service log in the tests' own process. By default, structlog shows a traceback with source and
# local variables of each frame: with those of asyncpg and grpc, that takes seconds, in which the loop stands still.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

# How long an example takes, and how long it takes to make one, depends on what else the machine does.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


def pytest_collection_finish() -> None:
    """Collects garbage from now on, without looking at all tests each time."""
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    gc.enable()


@pytest.fixture(scope="session")
def journal_directories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory above those of all tests. (One of `tmp_path` for each test takes longer than many tests do.)"""
    return tmp_path_factory.mktemp("journals")


@pytest.fixture(autouse=True)
def journal_directory(journal_directories: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the journals of this test are, and nothing else; not made yet. No agent that it has started is left
    behind."""
    directory = journal_directories / str(next(_numbers))
    monkeypatch.setenv("RUNSTREAM_DIR", str(directory))
    for name in ("RUNSTREAM_DIR_BYTES", "RUNSTREAM_MODE", "RUNSTREAM_AGENT", "RUNSTREAM_SYSTEM_METRICS"):
        monkeypatch.delenv(name, raising=False)
    yield directory
    for run in list(process_state._runs.values()):  # one that a test left open would go on in the next test
        assert isinstance(run, runstream.Run)
        run.finish(timeout=0.0)
    if directory.exists():
        end_agents(directory)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """An empty directory in which an embedded PostgreSQL can live, also for root."""
    with short_directory() as directory:
        yield directory


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """One PostgreSQL for the session, with fsync off."""
    with short_directory() as directory:
        place_cluster(directory)
        server = EmbeddedPostgres(directory, options=FAST)

        async def start() -> None:
            await server.start()
            await make_template(server)

        asyncio.run(start())
        try:
            yield server
        finally:
            asyncio.run(server.stop())


@pytest.fixture
async def database_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """A migrated database for this test alone."""
    async with fresh_database(postgres) as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open Database on `database_url`."""
    opened = await Database.open(database_url)
    yield opened
    await opened.close()
