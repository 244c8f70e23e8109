"""The primary is lost, and a standby takes over: two real servers, streaming replication, one URL with both."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import runstream
from runstream_service.database.embedded import EmbeddedPostgres
from runstream_service.database.pool import Database
from runstream_service.errors.core import DatabaseUnavailable
from tests.support.databases import FAST, short_directory
from tests.support.producers import Producers, assert_exactly_once
from tests.support.rest import Rest
from tests.support.serve import ServeProcess
from tests.support.standby import (
    administrate,
    follow,
    freeze,
    hold_back,
    lose,
    start_standby,
    url_of,
    wait_until,
)

# The writer that waits for the standby; NULL if none does.
WAITING = (
    "(SELECT max(pid) FROM pg_stat_activity"
    " WHERE application_name LIKE 'runstream-writer/%' AND wait_event = 'SyncRep')"
)
OPTIONS = {**FAST, "wal_retrieve_retry_interval": "100ms"}
FOLLOWED = "EXISTS (SELECT FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn())"


@pytest.fixture
async def servers() -> AsyncIterator[tuple[EmbeddedPostgres, EmbeddedPostgres]]:
    """A primary and its standby."""
    with short_directory() as one, short_directory() as other:
        primary = EmbeddedPostgres(one, options=OPTIONS)
        await primary.start()
        standby = await start_standby(primary, other, OPTIONS)
        try:
            yield primary, standby
        finally:
            for server in (standby, primary):
                await server.stop()


@contextlib.contextmanager
def serving(directory: Path, *servers: EmbeddedPostgres) -> Iterator[ServeProcess]:
    with ServeProcess(directory, arguments=["--database", url_of(*servers)]) as serve:
        yield serve


def metric(serve: ServeProcess, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", serve.get("/metrics")[1], re.MULTILINE)
    assert found is not None
    return float(found[1])


def log_over_http(serve: ServeProcess, run_id: str, key: str, step: int) -> None:
    body = {"run_id": run_id, "key": key, "value": step, "step": step, "timestamp": 1_700_000_000_000 + step}
    with Rest(serve.http_url) as rest:
        assert rest.post("runs/log-metric", body).status == 200


def steps_of(serve: ServeProcess, run_id: str, key: str, rank: int | None = None) -> list[int]:
    with runstream.Client(serve.grpc_address) as client:
        return [point.step for point in client.history(run_id, key, rank=rank)]


async def test_with_a_synchronous_standby_nothing_is_lost_and_nothing_comes_twice(
    servers, tmp_path, capsys, caplog
) -> None:
    primary, standby = servers
    await administrate(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
    await wait_until(primary, "EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')")
    # The standby first: the service has to find the other one.
    with (
        serving(tmp_path, standby, primary) as serve,
        Producers(serve.grpc_address, count=2, points_per_s=750) as producers,
        runstream.start_run("failover", "synchronous", address=serve.grpc_address) as run,
    ):
        run.log({"loss": 0}, step=0)
        assert await asyncio.to_thread(run.flush, 20)

        lose(primary)
        lost_at = time.monotonic()
        run.log({"loss": 1}, step=1)
        await administrate(standby, "SELECT pg_promote()")
        promoted_at = time.monotonic()
        assert await asyncio.to_thread(run.flush, 20)
        acked_at = time.monotonic()
        with capsys.disabled():
            print(
                f"\nfailover: promoted {promoted_at - lost_at:.2f} s after the primary was lost, "
                f"first acknowledgement {acked_at - promoted_at:.2f} s later"
            )
        reports = await asyncio.to_thread(producers.stop)
        assert_exactly_once(serve.grpc_address, producers.run_id, reports)
        assert [report["lost_acknowledged"] for report in reports] == [0, 0]
        assert steps_of(serve, run.run_id, "loss") == [0, 1]
        assert metric(serve, "runstream_batches_lost_total") == 0
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
        serve.wait_for_action("database_changed")
        serve.wait_until("/readyz", 200)


async def test_a_commit_whose_wait_for_the_standby_was_interrupted_is_not_acknowledged(servers, tmp_path) -> None:
    """PostgreSQL then has it, and shows it to everybody, but the standby does not have it. (A retry that finds it in
    the ledger must not take that for an answer.)"""
    primary, standby = servers
    await administrate(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
    with (
        serving(tmp_path, primary, standby) as serve,
        runstream.start_run("failover", "interrupted", address=serve.grpc_address) as run,
    ):
        run.log({"loss": 0}, step=0)
        assert await asyncio.to_thread(run.flush, 20)
        followed = await hold_back(standby)
        await wait_until(primary, "NOT EXISTS (SELECT FROM pg_stat_replication)")
        run.log({"loss": 1}, step=1)
        await wait_until(primary, f"{WAITING} IS NOT NULL")
        waiting = await administrate(primary, f"SELECT {WAITING}")
        await administrate(primary, f"SELECT pg_terminate_backend({waiting})")
        await wait_until(primary, "(SELECT count(*) = 2 FROM metric_points_hot)")
        await wait_until(primary, f"{WAITING} <> {waiting}")  # the retry, which found it stored
        assert not await asyncio.to_thread(run.flush, 0.5)
        await follow(standby, followed)
        assert await asyncio.to_thread(run.flush, 20)
        lose(primary)
        await administrate(standby, "SELECT pg_promote()")
        await asyncio.to_thread(serve.wait_for_action, "database_changed")
        assert steps_of(serve, run.run_id, "loss") == [0, 1]


async def test_without_one_the_loss_is_noticed_and_counted_and_no_point_lands_in_another_series(
    servers, tmp_path
) -> None:
    primary, standby = servers
    with (
        serving(tmp_path, primary, standby) as serve,
        runstream.start_run("failover", "asynchronous", address=serve.grpc_address) as run,
    ):
        run.log({"kept": 0}, step=0)
        assert await asyncio.to_thread(run.flush, 20)
        log_over_http(serve, run.run_id, "http", 0)
        await wait_until(primary, FOLLOWED)
        await hold_back(standby)
        await wait_until(primary, "NOT EXISTS (SELECT FROM pg_stat_replication)")
        # Series that the standby does not know, and will give the ids of to others.
        for step in range(1, 51):
            run.log({"kept": step, "lost": step}, step=step)
        assert await asyncio.to_thread(run.flush, 20)
        log_over_http(serve, run.run_id, "http lost", 1)

        lose(primary)
        await administrate(standby, "SELECT pg_promote()")
        with runstream.start_run("failover", "other", address=serve.grpc_address) as other:
            for step in range(51, 101):
                other.log({"other": step, "another": step}, step=step)
                run.log({"kept": step, "lost": step}, step=step)
            assert await asyncio.to_thread(other.flush, 20)
            assert await asyncio.to_thread(run.flush, 20)
        for step in (1, 2):
            log_over_http(serve, run.run_id, "http lost", step)
            log_over_http(serve, run.run_id, "http", step)

        assert (run.stats().lost_acknowledged, dict(run.stats().refused)) == (100, {})
        assert metric(serve, "runstream_batches_lost_total") > 0
        assert steps_of(serve, run.run_id, "kept") == [0, *range(51, 101)]
        assert steps_of(serve, run.run_id, "lost") == [*range(51, 101)]
        assert steps_of(serve, run.run_id, "http lost", rank=-1) == [1, 2]
        assert steps_of(serve, run.run_id, "http", rank=-1) == [0, 1, 2]
        for key in ("other", "another"):
            assert steps_of(serve, other.run_id, key) == [*range(51, 101)]


async def test_what_hangs_on_a_primary_that_is_frozen_ends_when_another_has_taken_over(servers) -> None:
    primary, standby = servers
    database = await Database.open(url_of(primary, standby))
    try:
        await database.ping()
        hanging = asyncio.create_task(database.execute("SELECT pg_sleep(100)"))
        while not database.in_use:
            await asyncio.sleep(0)
        freeze(primary)
        await administrate(standby, "SELECT pg_promote()")
        with pytest.raises(DatabaseUnavailable):
            await database.ping(timeout_s=0.2)
        assert not hanging.done()
        await database.ping()
        with pytest.raises(DatabaseUnavailable):
            await asyncio.wait_for(hanging, 10)
        assert await database.fetchval("SELECT pg_is_in_recovery()") is False
    finally:
        lose(primary)
        await database.close()


async def test_a_tail_tells_the_history_after_a_failover_that_lost_commits(servers, tmp_path) -> None:
    """The new primary gives transaction ids out again: to the old cursor, its commits would look old."""
    primary, standby = servers
    with (
        serving(tmp_path, primary, standby) as serve,
        runstream.Client(serve.grpc_address) as client,
        runstream.start_run("failover", "tail", address=serve.grpc_address, rank=0) as run,
    ):
        run.log({"loss": 0}, step=0)
        assert await asyncio.to_thread(run.flush, 20)
        await wait_until(primary, FOLLOWED)
        following = client.tail(run.run_id)
        assert not await asyncio.to_thread(next, following)
        await hold_back(standby)
        for step in range(1, 30):
            log_over_http(serve, run.run_id, "lost", step)
        told = 0
        while told < 29:
            told += len(await asyncio.to_thread(next, following))
        lose(primary)
        await administrate(standby, "SELECT pg_promote()")
        await asyncio.to_thread(serve.wait_until, "/readyz", 200)
        for step in range(100, 110):
            log_over_http(serve, run.run_id, "kept", step)
        found: dict[str, set[int]] = {"lost": set(range(1, 30))}
        replayed = False
        while not (109 in found.get("kept", ()) and "loss" in found):
            update = await asyncio.to_thread(next, following)
            if update.replayed and not replayed:
                found.clear()
            replayed = update.replayed
            for series in update.series:
                found.setdefault(series.key, set()).update(series.steps)
        assert found == {"loss": {0}, "kept": set(range(100, 110))}
        following.close()  # type: ignore[attr-defined]  # a generator
