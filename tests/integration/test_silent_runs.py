"""Runs whose producers are all gone: ended as KILLED, running again when one comes back, and never for an outage."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from runstream_service.core.experiments import Experiments
from runstream_service.core.launches import Launch
from runstream_service.core.runs import NewRun, Runs
from runstream_service.database.pool import Database
from runstream_service.liveness.metrics import LivenessMetrics
from runstream_service.liveness.silent_runs import SilentRuns
from tests.support.callers import caller_in

AFTER_S, BEAT_S = 3_600.0, 60.0


class Replica:
    """One replica's rounds; `passes` lets time go by for the database, as far as silent runs look at it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.streaming: set[uuid.UUID] = set()
        self.registry = CollectorRegistry()
        self._runs = SilentRuns(
            database,
            LivenessMetrics(self.registry),
            self._streaming_runs,
            silent_after_s=AFTER_S,
            beat_s=BEAT_S,
        )

    async def _streaming_runs(self) -> set[uuid.UUID]:
        return self.streaming

    async def run_once(self) -> int:
        return await self._runs.run_once()

    async def passes(self, seconds: float) -> None:
        """Moves everything that was recorded into the past by this time."""
        for statement in (
            "UPDATE service_time SET beat_at = beat_at - $1 * interval '1 s', "
            "judged_at = judged_at - $1 * interval '1 s'",
            "UPDATE producers SET opened_at = opened_at - $1 * interval '1 s', "
            "committed_at = committed_at - $1 * interval '1 s'",
            "UPDATE run_connections SET seen_at = seen_at - $1 * interval '1 s'",
            "UPDATE runs SET started_at = started_at - $1 * interval '1 s', ended_at = ended_at - $1 * interval '1 s'",
        ):
            await self.database.execute(statement, seconds)

    async def works(self, seconds: float) -> int:
        """Runs rounds for this time; returns how many runs were ended."""
        ended = 0
        for _ in range(round(seconds / BEAT_S)):
            await self.passes(BEAT_S)
            ended += await self.run_once()
        return ended


@pytest.fixture
def replica(database: Database) -> Replica:
    return Replica(database)


async def make_run(database: Database, *, producer: bool = True) -> uuid.UUID:
    run_id = uuid.uuid4()
    await database.execute(
        "INSERT INTO runs (run_id, experiment_id, name, started_at) VALUES ($1, 0, 'r', now())", run_id
    )
    if producer:
        assert await open_stream(database, run_id) == "ok"
    return run_id


async def open_stream(database: Database, run_id: uuid.UUID) -> str:
    row = await database.fetchrow("SELECT * FROM open_producer(1, $1, $2, 0, 0)", run_id, uuid.uuid4())
    assert row is not None
    state: str = row["run_state"]
    return state


async def run(database: Database, run_id: uuid.UUID) -> Any:
    return await database.fetchrow("SELECT *, now() - ended_at AS ago FROM runs WHERE run_id = $1", run_id)


async def test_a_run_that_nobody_works_on_is_killed_at_its_last_sign_of_life(
    database: Database, replica: Replica
) -> None:
    run_id = await make_run(database)
    replica.streaming = {run_id}
    assert await replica.works(2 * AFTER_S) == 0
    replica.streaming = set()
    assert await replica.works(AFTER_S - 2 * BEAT_S) == 0
    assert (await run(database, run_id))["status"] == "running"
    assert await replica.works(3 * BEAT_S) == 1
    ended = await run(database, run_id)
    assert ended["status"] == "killed"
    assert AFTER_S <= ended["ago"].total_seconds() <= AFTER_S + 2 * BEAT_S
    assert replica.registry.get_sample_value("runstream_silent_runs_total") == 1
    assert await replica.works(AFTER_S) == 0


async def test_a_run_killed_in_its_first_seconds_that_no_replica_ever_noted_is_found(
    database: Database, replica: Replica
) -> None:
    run_id = await make_run(database)
    assert await replica.works(AFTER_S + 2 * BEAT_S) == 1
    ended = await run(database, run_id)
    assert ended["ended_at"] == await database.fetchval("SELECT opened_at FROM producers WHERE run_id = $1", run_id)


async def test_it_is_running_again_when_a_producer_comes_back(database: Database, replica: Replica) -> None:
    run_id = await make_run(database)
    assert await replica.works(AFTER_S + 2 * BEAT_S) == 1
    assert await open_stream(database, run_id) == "ok"
    back = await run(database, run_id)
    assert (back["status"], back["ended_at"], back["ended_as_silent"]) == ("running", None, False)
    assert await replica.works(AFTER_S - 2 * BEAT_S) == 0


async def test_a_run_that_was_ended_by_its_trainer_stays_so_when_a_late_rank_opens(database: Database) -> None:
    run_id = await make_run(database)
    await database.execute("UPDATE runs SET status = 'finished', ended_at = now() WHERE run_id = $1", run_id)
    assert await open_stream(database, run_id) == "ok"
    assert (await run(database, run_id))["status"] == "finished"


async def test_a_stream_that_opened_while_its_run_was_being_ended_sets_it_to_running_with_the_next_beat(
    database: Database, replica: Replica
) -> None:
    run_id = await make_run(database)
    assert await replica.works(AFTER_S + 2 * BEAT_S) == 1
    replica.streaming = {run_id}
    await replica.works(BEAT_S)
    assert (await run(database, run_id))["status"] == "running"


async def test_an_outage_of_the_service_makes_no_run_silent(database: Database, replica: Replica) -> None:
    run_id = await make_run(database)
    replica.streaming = {run_id}
    await replica.works(10 * BEAT_S)
    replica.streaming = set()  # its streams broke with the service
    await replica.passes(24 * AFTER_S)
    assert await replica.works(AFTER_S - 4 * BEAT_S) == 0
    assert await replica.works(5 * BEAT_S) == 1


async def test_what_another_replica_sees_is_not_silent(database: Database, replica: Replica) -> None:
    run_id = await make_run(database)
    other = Replica(database)
    other.streaming = {run_id}
    for _ in range(80):
        await replica.passes(BEAT_S)
        assert await replica.run_once() == 0
        assert await other.run_once() == 0
    assert (await run(database, run_id))["status"] == "running"


async def test_streams_that_are_open_for_a_moment_now_and_then_are_signs_of_life(
    database: Database, replica: Replica
) -> None:
    run_id = await make_run(database)
    for _ in range(4):
        assert await replica.works(AFTER_S / 2) == 0
        await open_stream(database, run_id)
    assert (await run(database, run_id))["status"] == "running"


@pytest.mark.parametrize("over_http", [False, True])
async def test_runs_that_came_over_http_are_left_alone(database: Database, replica: Replica, over_http: bool) -> None:
    run_id = await make_run(database, producer=over_http)
    if over_http:  # points from both
        await database.execute("INSERT INTO series (run_id, key, rank, attempt) VALUES ($1, 'k', -1, 0)", run_id)
    assert await replica.works(3 * AFTER_S) == 0
    assert (await run(database, run_id))["status"] == "running"


async def test_notes_of_ended_and_deleted_runs_go_away(database: Database, replica: Replica) -> None:
    runs = [await make_run(database) for _ in range(3)]
    replica.streaming = set(runs)
    await replica.works(2 * BEAT_S)
    noted = "SELECT array_agg(run_id) FROM run_connections"
    assert set(await database.fetchval(noted)) == set(runs)
    await database.execute("UPDATE runs SET status = 'finished' WHERE run_id = $1", runs[0])
    await database.execute("UPDATE runs SET lifecycle = 'deleted', deleted_at = now() WHERE run_id = $1", runs[1])
    replica.streaming = set()
    await replica.works(2 * BEAT_S)
    assert await database.fetchval(noted) == runs[2:]


async def test_a_launch_with_the_id_of_one_that_was_killed_minutes_ago_has_a_run_of_its_own(
    database: Database, replica: Replica
) -> None:
    runs = Runs(database, Experiments(database))
    first = uuid.uuid4().hex

    async def launch(rank: int) -> str:
        new = NewRun(run_id=first, launch=Launch(rank=rank, age_us=1, derived=True))
        return (await runs.create(caller_in(1), new)).run.run_id.hex

    assert await launch(0) == first
    await open_stream(database, uuid.UUID(first))
    replica.streaming = {uuid.UUID(first)}
    await replica.works(AFTER_S)
    assert await launch(1) == first  # a rank that is an hour late
    replica.streaming = set()
    await replica.works(2 * BEAT_S)
    assert await launch(2) == first  # perhaps its streams have only broken
    await replica.passes(AFTER_S)  # the service is away
    assert await launch(2) == first
    await replica.works(5 * BEAT_S)
    second = await launch(0)
    assert second != first
    assert await launch(1) == second
    assert (await run(database, uuid.UUID(first)))["status"] == "running"  # until it has been silent for long enough


async def test_the_end_that_a_trainer_reports_takes_the_place_of_that_for_its_silence(
    database: Database, replica: Replica
) -> None:
    run_id = await make_run(database)
    assert await replica.works(AFTER_S + 2 * BEAT_S) == 1
    runs = Runs(database, Experiments(database))
    await runs.finish(caller_in(1), run_id.hex, status="finished", end_time_unix_us=0)
    assert await open_stream(database, run_id) == "ok"
    assert (await run(database, run_id))["status"] == "finished"
