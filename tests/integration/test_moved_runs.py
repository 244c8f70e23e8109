"""Runs that are moved to another experiment: what moves with them, what stays, and concurrent changes."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from runstream.v1 import query_pb2, run_pb2
from runstream_service.artifacts.files_of_caller import FilesOfCaller
from runstream_service.core.caller import Role
from runstream_service.core.datasets import Dataset, DatasetInput
from runstream_service.core.model_versions import ModelVersions, NewVersion
from runstream_service.core.registered_models import RegisteredModels
from runstream_service.database.pool import Database
from runstream_service.errors.core import CoreError
from runstream_service.query.reading.read_transaction import ReadPool
from runstream_service.query.run_search.run_search import RunSearch, RunSearchQuery
from runstream_service.retention.metrics import RetentionMetrics
from runstream_service.retention.orphans import Orphans
from runstream_service.retention.purge import Waiting
from runstream_service.retention.purged_files import PurgedFiles
from runstream_service.retention.retention import Retention
from tests.support.callers import caller_in
from tests.support.locks import waiting_for_a_lock, waiting_for_locks
from tests.support.moves import HERE, Things
from tests.support.rpc import Services, reason_of, serve_on
from tests.support.stored import prepare, put

Code = grpc.StatusCode


@pytest.fixture
def things(database: Database, tmp_path: Path) -> Things:
    return Things(database, tmp_path / "artifacts")


@pytest.fixture
async def services(database: Database) -> AsyncIterator[Services]:
    async with serve_on(database) as running:
        yield running


async def refused(call: Any) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason_of(caught.value)


def move(services: Services, run_id: str, experiment_id: int) -> Any:
    return services.runs.MoveRun(run_pb2.MoveRunRequest(run_id=run_id, experiment_id=experiment_id))


# -- what goes along -------------------------------------------------------------------------------------------------


async def test_a_run_leaves_one_experiment_and_is_in_the_other_with_all_that_it_has(
    things: Things, services: Services, database: Database
) -> None:
    await prepare(database)
    before, after = await things.experiment("before"), await things.experiment("after")
    run, stays, child = [await things.run(before) for _ in range(3)]
    await things.runs.set_tags(HERE, child.run_id.hex, {"mlflow.parentRunId": run.run_id.hex})
    await things.runs.set_tags(HERE, run.run_id.hex, {"team": "vision"})
    await things.runs.log_params(HERE, run.run_id.hex, {"lr": "0.1"})
    await put(database, run.run_id.hex, "loss", segments=[[(0, 0, 1.0)]], hot=[(1, 1, 0.5)])
    answer = await move(services, run.run_id.hex, after.experiment_id)
    assert (answer.run.experiment_id, answer.run.experiment) == (after.experiment_id, "after")
    assert (dict(answer.run.params), dict(answer.run.tags)) == ({"lr": "0.1"}, {"team": "vision"})
    steps: list[int] = []
    async for piece in services.query.History(query_pb2.HistoryRequest(run_id=run.run_id.hex, keys=["loss"])):
        steps += piece.step
    assert steps == [0, 1]
    for experiment, expected in ((before, {stays.run_id.hex, child.run_id.hex}), (after, {run.run_id.hex})):
        listed = await services.runs.ListRuns(run_pb2.ListRunsRequest(experiment_id=experiment.experiment_id))
        found = await services.runs.SearchRuns(
            run_pb2.SearchRunsRequest(experiment_ids=[experiment.experiment_id], filter="attributes.user_id = ''")
        )
        assert {one.run_id for one in listed.runs} == {one.run_id for one in found.runs} == expected
    rows = await database.fetch("SELECT experiment, count(*) FROM metric_points GROUP BY 1")
    assert [tuple(row) for row in rows] == [("after", 2)]


async def test_files_stay_where_they_are_and_their_uris_and_links_stay_valid(
    things: Things, database: Database
) -> None:
    before = await things.experiment("before", location="mlflow-artifacts:/chosen/place?a=b")
    between, after = await things.experiment("between"), await things.experiment("after")
    run = await things.run(before)
    file = things.put(run.artifact_uri.partition("?")[0])
    await RegisteredModels(database).create(HERE, "registered")
    for target in (between, after):
        moved = await things.move(run, target)
        assert (moved.experiment, moved.artifact_uri) == (target.name, run.artifact_uri)
        assert await things.reads(HERE, file)
        found, _ = await RunSearch(ReadPool(database, max_reads=2)).search(
            HERE,
            RunSearchQuery(
                experiment_ids=[target.experiment_id], filter=f"attributes.artifact_uri = '{run.artifact_uri}'"
            ),
        )
        assert found == [run.run_id]
        version = await ModelVersions(database).create(
            HERE, NewVersion(name="registered", source=f"runs:/{run.run_id.hex}/a", run_id=run.run_id.hex)
        )
        assert version.run_id == run.run_id.hex
    back = await things.move(run, before)
    assert back.artifact_uri == run.artifact_uri
    assert await database.fetchval("SELECT files_experiment_id FROM runs") is None


async def test_logged_models_and_inputs_go_along_and_those_of_others_do_not(things: Things, database: Database) -> None:
    before, after = await things.experiment("before"), await things.experiment("after")
    run, other = await things.run(before), await things.run(before)
    mine, deleted, others = await things.model(run), await things.model(run), await things.model(other)
    await things.models.delete(HERE, deleted)
    uri = (await things.models.get(HERE, mine)).artifact_uri
    digits = Dataset(name="digits", digest="1", source_type="local", source="here", schema="{}")
    letters = Dataset(name="letters", digest="2", source_type="local", source="here")
    context = {"mlflow.data.context": "training"}
    for one in (run, other):
        await things.inputs.log_inputs(HERE, one.run_id.hex, datasets=[DatasetInput(digits, context)])
    await things.inputs.log_inputs(HERE, run.run_id.hex, datasets=[DatasetInput(letters)], models=[mine])
    in_after = await things.run(after)
    await things.inputs.log_inputs(HERE, in_after.run_id.hex, datasets=[DatasetInput(letters)])
    moved = await things.move(run, after)
    assert {one.dataset.name: one for one in moved.datasets} == {
        "digits": DatasetInput(digits, context),
        "letters": DatasetInput(letters),
    }
    assert moved.models_in == (mine,)
    assert [one.name for one in await things.inputs.datasets_of(HERE, [before.experiment_id])] == ["digits"]
    assert [one.name for one in await things.inputs.datasets_of(HERE, [after.experiment_id])] == ["digits", "letters"]
    places = {
        model_id: (await things.models.get(HERE, model_id, also_deleted=True)).experiment_id
        for model_id in (mine, deleted, others)
    }
    assert places == {
        mine: after.experiment_id,
        deleted: after.experiment_id,
        others: before.experiment_id,
    }
    assert (await things.models.get(HERE, mine)).artifact_uri == uri
    await RegisteredModels(database).create(HERE, "registered")
    version = await ModelVersions(database).create(
        HERE, NewVersion(name="registered", source=f"models:/{mine}", model_id=mine)
    )
    assert await ModelVersions(database).storage_location(HERE, "registered", str(version.version)) == uri
    # Purging the experiment that it has left takes none of it along.
    await things.experiments.delete(HERE, before.experiment_id)
    await things.purge_all()
    assert len((await things.runs.get(HERE, run.run_id.hex)).datasets) == 2
    assert (await things.models.get(HERE, mine)).artifact_uri == uri


async def test_moving_again_changes_nothing_and_the_audit_log_has_it_once(
    things: Things, services: Services, database: Database
) -> None:
    before, after = await things.experiment("before"), await things.experiment("after")
    run = await things.run(before)
    for _ in range(3):
        answer = await move(services, run.run_id.hex, after.experiment_id)
        assert answer.run.experiment == "after"
    rows = await database.fetch("SELECT action, subject, details::text FROM audit_events WHERE action = 'run_moved'")
    (row,) = [tuple(row) for row in rows]
    assert row[:2] == ("run_moved", run.run_id.hex)
    assert f'"from_experiment": {before.experiment_id}' in row[2]


async def test_what_cannot_be_moved_is_refused_with_the_reason(
    things: Things, services: Services, database: Database
) -> None:
    await database.execute("INSERT INTO workspaces (workspace_id, name) VALUES (7, 'others')")
    theirs = (await things.experiments.create(caller_in(7), "theirs"))[0].experiment_id
    before, after, gone = [await things.experiment(name) for name in ("before", "after", "gone")]
    run, deleted = await things.run(before), await things.run(before)
    await things.experiments.delete(HERE, gone.experiment_id)
    await things.runs.delete(HERE, deleted.run_id.hex)
    run_id, unknown = run.run_id.hex, uuid.uuid4().hex
    no_experiment = (Code.NOT_FOUND, "EXPERIMENT_NOT_FOUND", "experiment_id")
    assert await refused(move(services, run_id, 10**12)) == no_experiment
    assert await refused(move(services, run_id, theirs)) == no_experiment
    assert await refused(move(services, run_id, gone.experiment_id)) == (
        Code.FAILED_PRECONDITION, "EXPERIMENT_DELETED", "experiment_id"
    )  # fmt: skip
    for target in (after, before):
        refusal = await refused(move(services, deleted.run_id.hex, target.experiment_id))
        assert refusal == (Code.FAILED_PRECONDITION, "RUN_DELETED", "run_id")
    assert await refused(move(services, unknown, after.experiment_id)) == (Code.NOT_FOUND, "RUN_NOT_FOUND", "run_id")
    assert await refused(move(services, "x", after.experiment_id)) == (Code.INVALID_ARGUMENT, "INVALID_FIELD", "run_id")
    unsaid = services.runs.MoveRun(run_pb2.MoveRunRequest(run_id=run_id))
    assert await refused(unsaid) == (Code.INVALID_ARGUMENT, "INVALID_FIELD", "experiment_id")
    with pytest.raises(CoreError, match=f"no experiment with id {theirs} in this workspace; a run cannot be moved to"):
        await things.moves.move(HERE, run_id, theirs)
    with pytest.raises(CoreError, match=f"no run with id {run_id}"):
        await things.moves.move(caller_in(7, Role.MANAGE), run_id, theirs)
    assert (await things.runs.get(HERE, run_id)).experiment == "before"
    # The experiment Default has the number 0, which is one that can be named.
    assert (await move(services, run_id, 0)).run.experiment == "Default"


async def test_a_job_that_names_the_experiment_of_before_still_finds_its_run(
    things: Things, services: Services
) -> None:
    run_id = uuid.uuid4().hex
    request = run_pb2.CreateRunRequest(run_id=run_id, experiment="before")
    await services.runs.CreateRun(request)
    after = await things.experiment("after")
    await move(services, run_id, after.experiment_id)
    again = await services.runs.CreateRun(request)
    assert (again.created, again.run.run_id, again.run.experiment) == (False, run_id, "after")


# -- purge and retention ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("location", ["", "mlflow-artifacts:/chosen/place"])
async def test_the_files_of_a_run_outlive_the_experiment_that_it_has_left_and_go_with_the_run(
    things: Things, database: Database, location: str
) -> None:
    await database.execute("INSERT INTO workspaces (workspace_id, name) VALUES (7, 'others')")
    before, after = await things.experiment("before", location=location), await things.experiment("after")
    run, left = await things.run(before), await things.run(before)
    model = await things.model(run)
    of_model = things.put((await things.models.get(HERE, model)).artifact_uri)
    file, of_left = things.put(run.artifact_uri), things.put(left.artifact_uri)
    await things.move(run, after)
    await things.experiments.delete(HERE, before.experiment_id)
    for _ in range(2):
        await things.purge_all()
    assert (file.exists(), of_model.exists(), of_left.exists()) == (True, True, False)
    assert await things.purge.waiting() == Waiting(), "what is left of it waits for nothing"
    assert [orphan async for orphan in Orphans(database, things.store).find()] == []
    again = await things.experiment("before")
    assert again.experiment_id != before.experiment_id, "the name is free"
    assert (await things.runs.get(HERE, run.run_id.hex)).artifact_uri == run.artifact_uri
    for one in (file, of_model):
        assert await things.reads(HERE, one)
        assert not await things.reads(caller_in(7, Role.MANAGE), one)
    listed = await FilesOfCaller(things.store, database).list(HERE, "")
    assert [entry.name for entry in listed] == [str(file.relative_to(things.root)).partition("/")[0]]
    await things.runs.delete(HERE, run.run_id.hex)
    await things.purge_all()
    assert (file.exists(), of_model.exists()) == (False, True), "a logged model outlives its run"
    assert await things.reads(HERE, of_model)
    await things.models.delete(HERE, model)
    for _ in range(2):
        await things.purge_all()
    assert not of_model.exists()
    experiments = await database.fetch("SELECT experiment_id FROM experiments WHERE workspace_id = 0")
    assert experiments == []
    if not location:
        assert not (things.root / str(before.experiment_id)).exists()
    assert await database.fetchval(PurgedFiles.COUNT) == 0


async def test_a_place_inside_another_experiments_directory_is_kept_for_a_run_that_has_left(
    things: Things, database: Database
) -> None:
    around = await things.experiment("around")
    within = await things.experiment("within", location=f"mlflow-artifacts:/{around.experiment_id}/sub")
    after = await things.experiment("after")
    run = await things.run(within)
    file = things.put(run.artifact_uri)
    await things.move(run, after)
    for one in (within, around):
        await things.experiments.delete(HERE, one.experiment_id)
    for _ in range(2):
        await things.purge_all()
    assert file.exists()
    await things.runs.delete(HERE, run.run_id.hex)
    for _ in range(2):
        await things.purge_all()
    assert not (things.root / str(around.experiment_id)).exists()


async def test_a_run_that_moved_in_is_purged_with_the_experiment_and_its_files_at_the_old_place(things: Things) -> None:
    before, after = await things.experiment("before"), await things.experiment("after")
    run, stays = await things.run(before), await things.run(before)
    file, of_stays = things.put(run.artifact_uri), things.put(stays.artifact_uri)
    await things.move(run, after)
    await things.experiments.delete(HERE, after.experiment_id)
    await things.purge_all()
    assert (file.exists(), of_stays.exists()) == (False, True)
    assert not (things.root / str(before.experiment_id) / run.run_id.hex).exists()
    assert await things.reads(HERE, of_stays)


async def test_retention_leaves_a_run_alone_that_is_moved_away_while_it_works(
    things: Things, database: Database
) -> None:
    await prepare(database)
    before, after = await things.experiment("before"), await things.experiment("after")
    run = await things.run(before)
    await put(database, run.run_id.hex, "loss", segments=[[(0, 1, 1.0)]])
    await things.experiments.set_retention(HERE, before.experiment_id, 1)
    retention = Retention(database, RetentionMetrics(CollectorRegistry()))
    async with database.transaction() as moving:
        await moving.execute("SELECT FROM runs WHERE run_id = $1 FOR NO KEY UPDATE", run.run_id)
        working = asyncio.ensure_future(retention.run_once())
        await waiting_for_a_lock(database, working)
        await moving.execute("UPDATE runs SET experiment_id = $2 WHERE run_id = $1", run.run_id, after.experiment_id)
    assert (await working).points == 0
    await things.experiments.set_retention(HERE, after.experiment_id, 1)
    assert (await retention.run_once()).points == 1, "the retention of the new one applies"


# -- at the same time ------------------------------------------------------------------------------------------------


async def test_a_call_that_waits_for_a_run_that_is_being_moved_finds_it_afterwards(
    things: Things, services: Services, database: Database
) -> None:
    before, after = await things.experiment("before"), await things.experiment("after")
    run = await things.run(before)
    run_id = run.run_id.hex
    model = await things.model(run)
    producer = "SELECT run_state FROM open_producer(1, $1, $2, 0, 0)"
    await things.runs.finish(HERE, run_id, status="killed", end_time_unix_us=0)
    await database.execute("UPDATE runs SET ended_as_silent = true")
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: things.runs.set_tags(HERE, run_id, {"a": "1"}),
        lambda: things.runs.log_params(HERE, run_id, {"a": "1"}),
        lambda: things.runs.edit(HERE, run_id, name="new"),
        lambda: things.runs.delete_series(HERE, run_id, ["loss"]),
        lambda: things.inputs.log_inputs(HERE, run_id, models=[model]),
        lambda: things.models.set_tags(HERE, model, {"a": "1"}),
        lambda: database.fetchval(producer, run.run_id, uuid.uuid4()),
    ]
    async with database.transaction() as moving:
        await moving.execute("SELECT FROM runs WHERE run_id = $1 FOR UPDATE", run.run_id)
        await moving.execute("UPDATE runs SET experiment_id = $2 WHERE run_id = $1", run.run_id, after.experiment_id)
        await moving.execute("UPDATE logged_models SET experiment_id = $1", after.experiment_id)
        waiting = [asyncio.ensure_future(call()) for call in calls]
        await waiting_for_locks(database, statements=len(calls))
    answers = await asyncio.gather(*waiting)
    assert answers[-1] == "ok"
    found = await things.runs.get(HERE, run_id)
    assert (found.experiment, found.name, found.tags["a"], found.params["a"]) == ("after", "new", "1", "1")
    assert found.status == "running", "its producer came back"


async def test_a_move_and_the_deletion_of_an_experiment_come_one_after_the_other(
    things: Things, database: Database
) -> None:
    before, after = await things.experiment("before"), await things.experiment("after")
    run = await things.run(before)

    async def while_held(statement: str, *arguments: object, call: Awaitable[Any]) -> Any:
        """Makes a call wait for what a transaction has locked and changed; returns what came of it."""
        async with database.transaction() as first:
            await first.execute(statement, *arguments)
            waiting = asyncio.ensure_future(call)
            await waiting_for_a_lock(database, waiting)
        return (await asyncio.gather(waiting, return_exceptions=True))[0]

    delete = "UPDATE experiments SET lifecycle = 'deleted' WHERE experiment_id = $1"
    outcome = await while_held(
        delete, after.experiment_id, call=things.moves.move(HERE, run.run_id.hex, after.experiment_id)
    )
    assert outcome.reason == "EXPERIMENT_DELETED"
    await things.experiments.restore(HERE, after.experiment_id)
    delete_run = "UPDATE runs SET lifecycle = 'deleted', deleted_at = now() WHERE run_id = $1"
    outcome = await while_held(
        delete_run, run.run_id, call=things.moves.move(HERE, run.run_id.hex, after.experiment_id)
    )
    assert outcome.reason == "RUN_DELETED"
    await things.runs.restore(HERE, run.run_id.hex)
    # The move first: the experiment that it has left is deleted without it,
    moved = "UPDATE runs SET experiment_id = $2 WHERE run_id = $1"
    outcome = await while_held(
        moved, run.run_id, after.experiment_id, call=things.experiments.delete(HERE, before.experiment_id)
    )
    assert outcome is None
    assert (await things.runs.get(HERE, run.run_id.hex)).lifecycle == "active"
    # and the one that it has come to with it.
    third = await things.experiment("third")
    async with database.transaction() as first:
        await first.execute("SELECT FROM experiments WHERE experiment_id = $1 FOR SHARE", third.experiment_id)
        await first.execute(moved, run.run_id, third.experiment_id)
        deleting = asyncio.ensure_future(things.experiments.delete(HERE, third.experiment_id))
        await waiting_for_a_lock(database, deleting)
    await deleting
    assert (await things.runs.get(HERE, run.run_id.hex)).lifecycle == "deleted"


async def test_moves_deletions_and_purges_at_once_neither_deadlock_nor_lose_files(
    things: Things, database: Database
) -> None:
    places = [await things.experiment(f"place {number}") for number in range(3)]
    runs = [await things.run(places[number % 3]) for number in range(6)]
    files = {run.run_id: things.put(run.artifact_uri) for run in runs}
    models = {await things.model(run): run.run_id for run in runs}
    digits = DatasetInput(Dataset(name="digits", digest="1", source_type="local", source="here"))
    wrong: list[BaseException] = []

    async def act(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(40):
            run, place = chance.choice(runs), chance.choice(places)
            call = chance.choice([
                partial(things.moves.move, HERE, run.run_id.hex, place.experiment_id),
                partial(things.moves.move, HERE, run.run_id.hex, place.experiment_id),
                partial(things.inputs.log_inputs, HERE, run.run_id.hex, datasets=[digits]),
                partial(things.experiments.delete, HERE, place.experiment_id),
                partial(things.experiments.restore, HERE, place.experiment_id),
                partial(things.runs.delete, HERE, run.run_id.hex),
                partial(things.runs.restore, HERE, run.run_id.hex),
                partial(things.runs.set_tags, HERE, run.run_id.hex, {"a": str(seed)}),
            ])  # fmt: skip
            try:
                await call()
            except CoreError as error:
                if error.reason not in ("EXPERIMENT_DELETED", "RUN_DELETED", "EXPERIMENT_NOT_FOUND"):
                    wrong.append(error)
            except Exception as error:
                wrong.append(error)

    await asyncio.gather(*(act(seed) for seed in range(8)))
    assert wrong == []
    for place in places:
        if (await things.experiments.get(HERE, experiment_id=place.experiment_id)).lifecycle == "deleted":
            await things.experiments.restore(HERE, place.experiment_id)
    for run in runs:
        await things.runs.restore(HERE, run.run_id.hex)
        found = await things.runs.get(HERE, run.run_id.hex)
        assert found.artifact_uri == run.artifact_uri
        assert await things.reads(HERE, files[run.run_id])
        for model_id in [one for one, of_run in models.items() if of_run == run.run_id]:
            assert (await things.models.get(HERE, model_id)).experiment_id == found.experiment_id
    strays = await database.fetchval(
        "SELECT count(*) FROM run_datasets i JOIN datasets d USING (dataset_id) JOIN runs r USING (run_id) "
        "WHERE d.experiment_id <> r.experiment_id"
    )
    assert strays == 0
    # Everything in one place, and the others purged: nothing is lost. Then that one: nothing is left.
    for run in runs:
        await things.move(run, places[0])
    for place in places[1:]:
        await things.experiments.delete(HERE, place.experiment_id)
    await things.purge_all()
    assert all(file.exists() for file in files.values())
    await things.experiments.delete(HERE, places[0].experiment_id)
    for _ in range(2):
        await things.purge_all()
    assert not any(file.exists() for file in files.values())
    assert await database.fetchval("SELECT count(*) FROM experiments") == 1  # Default
