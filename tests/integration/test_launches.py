"""Which run a process gets from CreateRun: late ranks, restarts, resumed checkpoints, other launches, deleted ones."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from runstream.v1 import run_pb2
from runstream_service.core.experiments import Experiments
from runstream_service.core.launches import Launch
from runstream_service.core.runs import NewRun, Runs
from runstream_service.database.pool import Database
from tests.support.callers import ANYONE, caller_in
from tests.support.rpc import Services, serve_on

RUNNING, FINISHED, FAILED = run_pb2.RUN_STATUS_RUNNING, run_pb2.RUN_STATUS_FINISHED, run_pb2.RUN_STATUS_FAILED

# Ages of a process: it started long before anything in these tests, or after all of it.
OLD_US, YOUNG_US = 3_600_000_000, 1


@pytest.fixture
async def services(database: Database) -> AsyncIterator[Services]:
    async with serve_on(database) as running:
        yield running


async def create(services: Services, run_id: str, **fields: Any) -> run_pb2.CreateRunResponse:
    request = run_pb2.CreateRunRequest(**{"run_id": run_id, "experiment": "e", **fields})
    answer: run_pb2.CreateRunResponse = await services.runs.CreateRun(request)
    return answer


async def finish(services: Services, run_id: str, status: Any = FINISHED, **fields: Any) -> None:
    await services.runs.FinishRun(run_pb2.FinishRunRequest(run_id=run_id, status=status, **fields))


async def status_of(services: Services, run_id: str) -> Any:
    answer: run_pb2.GetRunResponse = await services.runs.GetRun(run_pb2.GetRunRequest(run_id=run_id))
    assert answer.run.HasField("end_time_unix_us") == (answer.run.status != RUNNING)
    return answer.run.status


# -- another launch --------------------------------------------------------------------------------------------------


async def test_a_derived_id_whose_run_ended_before_is_another_launch_and_all_its_ranks_come_to_one_run(
    services: Services,
) -> None:
    first = uuid.uuid4().hex
    runs = [first]
    for _ in range(3):
        answers = await asyncio.gather(
            *(create(services, first, derived=True, age_us=YOUNG_US, rank=rank) for rank in range(8))
        )
        (run_id,) = {answer.run.run_id for answer in answers}
        assert sum(answer.created for answer in answers) == 1
        runs.append(run_id)
        await finish(services, run_id)
    assert runs[1] == first  # nobody had it before
    assert len(set(runs[1:])) == 3
    for run_id in runs:
        assert await status_of(services, run_id) == FINISHED


async def test_a_rank_that_was_there_when_the_run_ended_is_a_late_one_and_joins_it(services: Services) -> None:
    run_id = uuid.uuid4().hex
    await create(services, run_id, derived=True, age_us=OLD_US)
    await finish(services, run_id)
    late = await create(services, run_id, derived=True, age_us=OLD_US, rank=1)
    assert (late.run.run_id, late.run.status, late.created) == (run_id, FINISHED, False)


async def test_a_launch_whose_run_has_not_ended_is_joined(services: Services) -> None:
    run_id = uuid.uuid4().hex
    await create(services, run_id, derived=True, age_us=YOUNG_US)
    other = await create(services, run_id, derived=True, age_us=YOUNG_US, rank=1)
    assert (other.run.run_id, other.created) == (run_id, False)


async def test_a_restart_joins_the_newest_launch_of_its_id(services: Services) -> None:
    first = uuid.uuid4().hex
    await create(services, first, derived=True, age_us=YOUNG_US)
    await finish(services, first)
    second = (await create(services, first, derived=True, age_us=YOUNG_US)).run.run_id
    await finish(services, second, FAILED)
    again = await create(services, first, derived=True, age_us=YOUNG_US, attempt=1)
    assert (again.run.run_id, again.run.status) == (second, RUNNING)
    assert await status_of(services, first) == FINISHED


async def test_a_launch_after_the_run_of_its_id_was_deleted_has_a_run_of_its_own(services: Services) -> None:
    first = uuid.uuid4().hex
    await create(services, first, derived=True, age_us=YOUNG_US)
    await services.runs.DeleteRun(run_pb2.DeleteRunRequest(run_id=first))
    assert (await create(services, first, derived=True, age_us=YOUNG_US)).run.run_id != first


async def test_the_end_is_dated_by_the_service_so_that_clocks_need_not_agree(services: Services) -> None:
    first = uuid.uuid4().hex
    await create(services, first, derived=True, age_us=YOUNG_US)
    await finish(services, first, end_time_unix_us=4_000_000_000_000_000)  # by a clock that is decades ahead
    assert (await create(services, first, derived=True, age_us=YOUNG_US)).run.run_id != first
    late = await create(services, first, derived=True, age_us=OLD_US, rank=1)
    assert late.run.run_id != first  # that of the newest launch


async def test_a_client_that_says_nothing_of_its_process_gets_the_run_as_it_is(services: Services) -> None:
    run_id = uuid.uuid4().hex
    await create(services, run_id)
    await finish(services, run_id)
    answer = await create(services, run_id)
    assert (answer.run.run_id, answer.run.status) == (run_id, FINISHED)


# -- running again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param({"age_us": YOUNG_US}, RUNNING, id="resumed on purpose by its id"),
        pytest.param({"age_us": YOUNG_US, "experiment": ""}, RUNNING, id="by its id alone"),
        pytest.param({"attempt": 1}, RUNNING, id="a newer attempt"),
        pytest.param({"attempt": 1, "age_us": OLD_US}, RUNNING, id="a newer attempt in an old process"),
        pytest.param({"age_us": OLD_US}, FAILED, id="a late join of the same launch"),
        pytest.param({"age_us": YOUNG_US, "rank": 1}, FAILED, id="a rank that will not end it"),
    ],
)
async def test_rank_0_sets_a_run_that_had_ended_to_running_again(
    services: Services, fields: dict[str, Any], status: Any
) -> None:
    run_id = uuid.uuid4().hex
    await create(services, run_id, age_us=YOUNG_US)
    await finish(services, run_id, FAILED)
    answer = await create(services, run_id, **fields)
    assert (answer.run.run_id, answer.run.status) == (run_id, status)
    assert await status_of(services, run_id) == status
    await finish(services, run_id)
    assert await status_of(services, run_id) == FINISHED


async def test_the_end_that_an_older_attempt_reports_is_not_taken(services: Services) -> None:
    run_id = uuid.uuid4().hex
    await create(services, run_id, age_us=OLD_US)
    await create(services, run_id, age_us=YOUNG_US, attempt=2)
    await finish(services, run_id, FAILED, attempt=1)
    assert await status_of(services, run_id) == RUNNING
    await finish(services, run_id, attempt=2)
    assert await status_of(services, run_id) == FINISHED


async def test_a_repeated_end_does_not_look_like_a_later_one(services: Services) -> None:
    run_id = uuid.uuid4().hex
    await create(services, run_id, derived=True, age_us=YOUNG_US)
    await finish(services, run_id)
    recorded = "SELECT end_recorded_at FROM runs WHERE run_id = $1"
    first = await services.database.fetchval(recorded, uuid.UUID(run_id))
    await finish(services, run_id)
    assert await services.database.fetchval(recorded, uuid.UUID(run_id)) == first


async def test_the_end_of_a_deleted_run_is_there_when_it_is_restored(services: Services) -> None:
    run_id = uuid.uuid4().hex
    await create(services, run_id)
    await services.runs.DeleteRun(run_pb2.DeleteRunRequest(run_id=run_id))
    await finish(services, run_id)
    await services.runs.RestoreRun(run_pb2.RestoreRunRequest(run_id=run_id))
    assert await status_of(services, run_id) == FINISHED


async def test_a_process_is_told_that_its_rank_and_attempt_has_points_of_an_earlier_one(services: Services) -> None:
    run_id = uuid.uuid4()
    await create(services, run_id.hex)
    await services.database.execute(
        "INSERT INTO producers (producer_id, run_id, rank, attempt, committed_number, opened_at) "
        "VALUES ($1, $2, 1, 0, 3, now() - interval '1 minute')",
        uuid.uuid4(),
        run_id,
    )

    async def told(**fields: int) -> bool:
        return (await create(services, run_id.hex, **fields)).attempt_has_points

    assert await told(rank=1, age_us=YOUNG_US)
    assert not await told(rank=1, age_us=OLD_US)  # another handle of a process that is there at the same time
    assert not await told(rank=1, age_us=YOUNG_US, attempt=1)
    assert not await told(rank=0, age_us=YOUNG_US)


# -- deleted experiments ---------------------------------------------------------------------------------------------


async def delete_experiment(services: Services, experiment_id: int) -> None:
    await Experiments(services.database).delete(caller_in(1), experiment_id)


async def test_a_run_of_a_deleted_experiment_goes_to_one_with_a_number_behind_its_name(services: Services) -> None:
    old = (await create(services, uuid.uuid4().hex)).run
    await delete_experiment(services, old.experiment_id)
    run_id = uuid.uuid4().hex
    answers = await asyncio.gather(*(create(services, run_id, rank=rank) for rank in range(8)))
    assert {answer.run.experiment for answer in answers} == {"e (2)"}
    await delete_experiment(services, answers[0].run.experiment_id)
    assert (await create(services, uuid.uuid4().hex)).run.experiment == "e (3)"
    listed = await services.runs.ListExperiments(run_pb2.ListExperimentsRequest())
    assert [one.name for one in listed.experiments] == ["e (3)", "Default"]


async def test_a_long_name_is_cut_for_its_number(services: Services) -> None:
    name = "n" * 500
    old = (await create(services, uuid.uuid4().hex, experiment=name)).run
    await delete_experiment(services, old.experiment_id)
    assert (await create(services, uuid.uuid4().hex, experiment=name)).run.experiment == "n" * 496 + " (2)"


async def test_no_run_is_created_in_an_experiment_that_is_being_deleted(services: Services) -> None:
    old = (await create(services, uuid.uuid4().hex)).run
    async with services.database.transaction() as connection:
        await connection.execute(
            "UPDATE experiments SET lifecycle = 'deleted' WHERE experiment_id = $1", old.experiment_id
        )
        creating = asyncio.create_task(create(services, uuid.uuid4().hex))
        # Until it waits for the deletion.
        while not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not creating.done(), "the run was created although the experiment is being deleted"
            await asyncio.sleep(0.01)
    assert (await creating).run.experiment == "e (2)"


async def test_launches_of_two_workspaces_with_one_derived_id_have_runs_of_their_own(database: Database) -> None:
    runs, run_id = Runs(database, Experiments(database)), uuid.uuid4().hex
    await database.execute("INSERT INTO workspaces (workspace_id, name) VALUES (70, 'other')")
    other = caller_in(70)
    first = NewRun(run_id=run_id, launch=Launch(derived=True, age_us=YOUNG_US))
    rank = NewRun(run_id=run_id, launch=Launch(derived=True, age_us=YOUNG_US, rank=1))
    assert (await runs.create(ANYONE, first)).run.run_id.hex == run_id
    created = await runs.create(other, first)
    assert created.created
    assert created.run.run_id.hex != run_id
    # All ranks come to the same run, and later calls name it by its own id.
    assert (await runs.create(other, rank)).run.run_id == created.run.run_id
    assert (await runs.get(other, created.run.run_id.hex)).experiment == "Default"
    assert (await runs.create(ANYONE, rank)).run.run_id.hex == run_id
    # The next launch in each of them is one of its own, too.
    for caller, run in ((ANYONE, run_id), (other, created.run.run_id.hex)):
        await runs.finish(caller, run, status="finished", end_time_unix_us=0)
    later = NewRun(run_id=run_id, launch=Launch(derived=True, age_us=1))
    ids = [(await runs.create(caller, later)).run.run_id.hex for caller in (ANYONE, other)]
    assert len({*ids, run_id, created.run.run_id.hex}) == 4
