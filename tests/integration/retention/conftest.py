"""Services, a purge, and helpers of the tests of purge and retention."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest
from prometheus_client import CollectorRegistry

from runstream.v1 import query_pb2, run_pb2
from runstream_service.artifacts.store import ArtifactStore
from runstream_service.database.pool import Database
from runstream_service.retention.metrics import RetentionMetrics
from runstream_service.retention.purge import Purge
from tests.support.rpc import Services, reason_of, serve_on
from tests.support.tail import ManualCommit, new_series
from tests.support.tasks import end

Code = grpc.StatusCode
FAILURES = "runstream_retention_failures_total"
NOT_FOUND = (Code.NOT_FOUND, "RUN_NOT_FOUND", "run_id")


@pytest.fixture
async def services(database: Database) -> AsyncIterator[Services]:
    async with serve_on(database) as running:
        yield running


@pytest.fixture
async def run_id(services: Services) -> UUID:
    answer = await services.runs.CreateRun(run_pb2.CreateRunRequest(params={"a": "1"}, tags={"b": "2"}))
    return UUID(answer.run.run_id)


@pytest.fixture
async def manual(database_url: str) -> AsyncIterator[ManualCommit]:
    async with ManualCommit.connect(database_url) as made:
        yield made


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore.open(str(tmp_path / "artifacts"))


@pytest.fixture
def purger(database: Database, registry: CollectorRegistry) -> Purge:
    return Purge(database, RetentionMetrics(registry), purge_after_days=0)


async def write(
    manual: ManualCommit, database: Database, run_id: UUID, key: str, steps: range, *, rank: int = 0
) -> None:
    manual.epoch = await database.fetchval("SELECT epoch FROM epochs WHERE state = 'open'")
    await manual.write(await new_series(database, run_id, key, rank=rank), steps)


async def history(services: Services, run_id: UUID) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    async for piece in services.query.History(query_pb2.HistoryRequest(run_id=run_id.hex)):
        found.setdefault(piece.series.key, []).extend(piece.step)
    return found


async def latest(services: Services, run_id: UUID) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    async for answer in services.query.Latest(query_pb2.LatestRequest(run_ids=[run_id.hex])):
        for key, step in zip(answer.key_index, answer.step, strict=True):
            found.setdefault(answer.keys[key], []).append(step)
    return found


async def delete_series(services: Services, run_id: UUID, *keys: str) -> int:
    answer = await services.runs.DeleteSeries(run_pb2.DeleteSeriesRequest(run_id=run_id.hex, keys=keys))
    return int(answer.series_count)


async def delete_run(services: Services, run_id: UUID) -> None:
    await services.runs.DeleteRun(run_pb2.DeleteRunRequest(run_id=run_id.hex))


async def refused(call: Any) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason_of(caught.value)


async def refuse_deletion(database: Database, table: str, which: str) -> None:
    """Makes rows of a table impossible to delete."""
    await database.execute(
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF (SELECT old_row.{which} FROM (SELECT OLD.*) old_row) THEN RAISE 'not this one'; END IF; "
        f"RETURN OLD; END $$; "
        f"CREATE TRIGGER refuse BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()"
    )


async def until_gone(database: Database, table: str, which: str = "true", *, timeout_s: float = 60) -> None:
    give_up = asyncio.get_running_loop().time() + timeout_s
    while await database.fetchval(f"SELECT EXISTS (SELECT FROM {table} WHERE {which})"):
        assert asyncio.get_running_loop().time() < give_up, f"rows of {table} are still there"
        await asyncio.sleep(0.01)


@dataclass
class Running:
    """A task that runs until the end of the block, which raises the task's exception."""

    task: asyncio.Task[None]

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        (raised,) = await end(self.task)
        if not isinstance(raised, asyncio.CancelledError | None):
            raise raised


async def left(database: Database) -> dict[str, int]:
    """The numbers of remaining rows, by table."""
    tables = ("metric_segments", "latest_values", "series", "params", "tags", "producers", "runs")
    return {table: await database.fetchval(f"SELECT count(*) FROM {table}") for table in tables}
