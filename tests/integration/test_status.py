"""What `runstream status` asks the database: whose connections, which producer is silent, how many points."""

from __future__ import annotations

from uuid import UUID, uuid4

import asyncpg
import pytest

from runstream_service.database.pool import Database
from runstream_service.database.replica import ReplicaId
from runstream_service.errors.core import DatabaseUnavailable
from runstream_service.errors.startup import StartupError
from runstream_service.status import collect as collecting
from runstream_service.status.collect import collect
from runstream_service.stores.segment_store import SegmentStore
from tests.support.databases import with_database
from tests.support.stored import make_run, prepare, put


async def add_producer(database: Database, run_id: UUID, *, rank: int, attempt: int, committed: str | None) -> None:
    """Adds a producer whose last commit is this long ago; `committed` is an interval, or None if it has none."""
    await database.execute(
        "INSERT INTO producers (producer_id, run_id, rank, attempt, opened_at, committed_at) VALUES "
        "($1, $2, $3, $4, now() - interval '10 hours', now() - $5::text::interval)",
        uuid4(), run_id, rank, attempt, committed,
    )  # fmt: skip


async def test_the_silent_producer_is_the_newest_of_its_rank_in_a_run_that_is_running(database, database_url):
    running, finished, deleted = [UUID(await make_run(database)) for _ in range(3)]
    await database.execute("UPDATE runs SET status = 'finished' WHERE run_id = $1", finished)
    await database.execute("UPDATE runs SET lifecycle = 'deleted' WHERE run_id = $1", deleted)
    for run_id in (finished, deleted):
        await add_producer(database, run_id, rank=0, attempt=0, committed="9 hours")
    await add_producer(database, running, rank=0, attempt=0, committed="8 hours")  # before it was started again
    await add_producer(database, running, rank=0, attempt=1, committed="1 second")
    await add_producer(database, running, rank=1, attempt=0, committed="2 hours")
    producers = (await collect(database_url, None)).producers
    assert producers is not None
    assert (producers.runs, producers.producers, producers.heard) == (1, 2, 1)
    silent = producers.silent_longest
    assert silent is not None
    assert (silent.run_id, silent.rank, silent.attempt) == (running.hex, 1, 0)
    assert 7_200 <= silent.silent_s < 7_300
    await add_producer(database, running, rank=2, attempt=0, committed=None)
    producers = (await collect(database_url, None)).producers
    assert producers is not None
    silent = producers.silent_longest
    assert silent is not None
    assert (silent.rank, silent.committed_at) == (2, None)
    assert 36_000 <= silent.silent_s < 36_100


async def test_points_are_counted_once_and_estimated_when_there_are_many(database, database_url, monkeypatch):
    await prepare(database)
    run_id = await make_run(database)
    point = (1, 1_700_000_000_000_000, 0.5)
    await put(database, run_id, "loss", segments=[[point]] * 400, hot=[point] * 5)
    status = await collect(database_url, None)
    assert (status.points_stored, status.points_exact, status.rollup_lag_points) == (405, True, 5)
    assert status.epoch is not None
    assert (status.epoch.open, status.epoch.visible, status.epoch.points, status.points_last_minute) == (2, 1, 5, 5)
    async with database.acquire() as connection:
        pages = await SegmentStore(connection).pages()
    monkeypatch.setattr(collecting, "_SAMPLED_PAGES", pages * 5 // 6)
    estimated = await collect(database_url, None)
    assert not estimated.points_exact
    assert estimated.points_stored is not None
    assert 100 < estimated.points_stored < 1_000


async def test_a_replica_is_its_connections_of_all_kinds_and_visitors_are_none(database, database_url):
    ours = ReplicaId("1.2.3", "some-host", 7)
    replica = await Database.open(database_url, replica=ours)
    kinds = [await replica.connect_writer(), await replica.connect_rollup(), await replica.connect_notifier()]
    await replica.ping()
    replicas = (await collect(database_url, None)).replicas
    assert replicas is not None
    (found,) = replicas
    assert (found.version, found.host, found.pid, found.connections) == ("1.2.3", "some-host", 7, 5)
    for connection in kinds:
        await connection.close()
    await replica.close()


async def test_a_part_that_cannot_be_read_costs_itself_alone(database, database_url):
    await database.execute("ALTER TABLE producers RENAME TO away")
    await database.execute("UPDATE epochs SET state = 'closing' WHERE state = 'open'")
    status = await collect(database_url, None)
    assert status.unread.keys() == {"producers", "epochs"}
    assert "producers" in status.unread["producers"]
    assert "no epoch is open" in status.unread["epochs"]
    assert (status.producers, status.epoch) == (None, None)
    assert status.database is not None
    assert (status.points_stored, status.rollup_lag_points) == (0, 0)


async def test_a_database_that_is_none_of_ours_is_told_from_one_that_is_away(postgres, database_url):
    connection = await asyncpg.connect(database_url)
    await connection.execute("CREATE DATABASE empty_one")
    try:
        with pytest.raises(StartupError, match="no service was ever started on it"):
            await collect(with_database(postgres.url, "empty_one"), None)
    finally:
        await connection.execute("DROP DATABASE empty_one WITH (FORCE)")
        await connection.close()
    with pytest.raises(StartupError, match='database "there_is_none" does not exist'):
        await collect(with_database(postgres.url, "there_is_none"), None)
    with pytest.raises(DatabaseUnavailable):
        await collect("postgresql://postgres@127.0.0.1:1/away", None)
