"""Which writer commits a batch or a write."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from runstream_service.database.pool import Database
from runstream_service.errors.core import CommitFailed
from runstream_service.ingest.backpressure import PointBudget
from runstream_service.ingest.http_writes import PendingWrite
from runstream_service.ingest.metrics import IngestMetrics
from runstream_service.ingest.writer import QuietWriter, Writer
from runstream_service.ingest.writer_router import SHARED_GROUP_POINTS, WriterRouter
from runstream_service.sharing.urgent import UrgentWork
from tests.integration.ingest.conftest import fail_for, running_replica
from tests.support.callers import ANYONE


async def test_few_writes_share_the_first_writer_and_many_are_spread(idle_writers):
    router, few = _router(idle_writers), SHARED_GROUP_POINTS // 4
    for _ in range(4):
        router.submit(write(uuid4(), few))
    assert [writer.points for writer in idle_writers] == [4 * few, 0]
    for run in (2, 3, 4, 5):
        router.submit(write(UUID(int=run), 1_000))
    assert [writer.points for writer in idle_writers] == [4 * few + 2_000, 2_000]


async def test_all_that_is_under_way_of_a_run_is_with_one_writer(idle_writers):
    router, run = _router(idle_writers), UUID(int=1)
    first = write(run, SHARED_GROUP_POINTS)
    router.submit(first)
    router.submit(write(uuid4(), 1))
    second = write(run, 1_000)
    router.submit(second)  # the second writer's by its run, were there not the first write
    assert idle_writers[0].points >= SHARED_GROUP_POINTS + 1_000
    for ended in (first, second):
        router.ended(ended)
    router.submit(write(run, 1_000))
    assert idle_writers[1].points >= 1_000


async def test_while_others_fill_the_queue_a_quiet_workspace_has_a_writer_of_its_own(idle_writers):
    budget = PointBudget(1_000_000)
    router, busy, quiet = _router(idle_writers, budget, urgent := UrgentWork()), 1, 2

    def submit(count: int, workspace_id: int) -> PendingWrite:
        assert budget.try_acquire(workspace_id, count)
        router.submit(one := write(uuid4(), count, workspace_id))
        return one

    of_quiet = router.writers[-1]
    submit(1_000, busy)
    submit(100, quiet)
    assert of_quiet.points == 0, "there is nothing to wait behind"
    for _ in range(100):
        submit(1_000, busy)
    assert of_quiet.points == 0, "a busy workspace never uses it"
    assert not urgent.is_under_way
    of_few = submit(100, quiet)
    assert of_quiet.points == 100
    assert urgent.is_under_way
    router.ended(of_few)
    assert not urgent.is_under_way
    submit(20_000, quiet)
    assert of_quiet.points == 100, "with that many points it is not quiet"


async def test_points_of_a_workspace_that_became_busy_do_not_delay_those_of_a_quiet_one(idle_writers):
    writer = _router(idle_writers).writers[-1]
    for _ in range(5):
        writer.submit(write(uuid4(), 1_000, 1))
    writer.submit(write(uuid4(), 10, 2))
    groups = []
    while len(writer._waiting):
        groups.append([(item.workspace_id, item.points) for item in writer._take_group()])
    assert groups == [[(2, 10), *[(1, 1_000)] * 4], [(1, 1_000)]]


@pytest.fixture
async def idle_writers(database) -> list[Writer]:
    return [_writer(Writer, database) for _ in range(2)]


def _writer(kind: type[Writer], database: Database) -> Any:
    return kind("writer", database, lambda _item: None, IngestMetrics(CollectorRegistry()), lambda: None)


def _router(writers: list[Writer], budget: PointBudget | None = None, urgent: UrgentWork | None = None) -> WriterRouter:
    quiet = _writer(QuietWriter, writers[0]._database)
    return WriterRouter(writers, quiet, budget or PointBudget(1_000_000), urgent or UrgentWork())


def write(run_id: UUID, count: int, workspace_id: int = ANYONE.workspace_id) -> PendingWrite:
    column = np.zeros(count, np.int64)
    return PendingWrite(uuid4(), workspace_id, run_id, 0, "", column, column, column, np.zeros(count))


async def test_a_writer_counts_what_failed_out_again(database, run_id):
    """Otherwise callers over HTTP would share no groups after some thousand points that failed."""
    await fail_for(database, "666")
    async with running_replica(database, writers=1) as replica:
        stream = await replica.open(run_id)
        await replica.send(stream, 1, [666.0] * 1_000)
        assert isinstance(await asyncio.wait_for(stream.failed, 20), CommitFailed)
        assert replica.pipeline._router.writers[0].points == 0
