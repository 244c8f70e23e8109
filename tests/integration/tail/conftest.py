"""A replica with tails over real gRPC, and commits made step by step."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from uuid import UUID

import grpc
import pytest

from runstream_service.database.pool import Database
from tests.support.tail import ManualCommit, TailReplica, new_series, tail_replica

Code = grpc.StatusCode


@pytest.fixture
async def run_id(database: Database) -> UUID:
    run_id = uuid.uuid4()
    await database.execute(
        "INSERT INTO runs (run_id, experiment_id, name, started_at) VALUES ($1, 0, 'test', now())", run_id
    )
    return run_id


@pytest.fixture
async def loss(database: Database, run_id: UUID) -> int:
    return await new_series(database, run_id, "loss")


@pytest.fixture
async def replica(database: Database) -> AsyncIterator[TailReplica]:
    async with tail_replica(database) as running:
        yield running


@pytest.fixture
async def manual(database_url: str) -> AsyncIterator[ManualCommit]:
    async with ManualCommit.connect(database_url) as made:
        yield made


@pytest.fixture
async def other_hand(database_url: str) -> AsyncIterator[ManualCommit]:
    async with ManualCommit.connect(database_url) as made:
        yield made


@contextlib.asynccontextmanager
async def meek_database(url: str) -> AsyncIterator[Database]:
    opened = await Database.open(url.replace("postgres@", "meek@"))
    try:
        yield opened
    finally:
        await opened.close()


async def rotate(database: Database, *, roll: bool = True) -> int:
    """Closes the open epoch, opens the next, and makes the old one visible as if it had been rolled up."""
    old = await database.fetchval("SELECT epoch FROM epochs WHERE state = 'open'")
    await database.execute(f"UPDATE epochs SET state = '{'visible' if roll else 'closing'}' WHERE epoch = {old}")
    await database.execute("INSERT INTO epochs (epoch, state) VALUES ($1, 'open')", old + 1)
    await database.execute("SELECT create_hot_partition($1)", old + 1)
    if roll:
        await database.execute("UPDATE watermark SET visible_epoch = $1", old)
    return int(old) + 1


async def listening(database: Database, *, other_than: int = 0) -> int:
    """The process of PostgreSQL that notifies for this replica."""
    give_up = asyncio.get_running_loop().time() + 30
    while True:
        pid = await database.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle' AND pid <> $1 "
            "AND application_name = 'runstream-notifier' AND query ~ '^(LISTEN|NOTIFY) '",
            other_than,
        )
        if pid is not None:
            return int(pid)
        assert asyncio.get_running_loop().time() < give_up, "nobody listens"
        await asyncio.sleep(0.01)


async def drop(database: Database, epoch: int) -> None:
    await database.execute(
        f"BEGIN; DROP TABLE hot_batches_{epoch}; DELETE FROM commits WHERE epoch <= {epoch}; "
        f"UPDATE watermark SET dropped_epoch = {epoch}; COMMIT"
    )
