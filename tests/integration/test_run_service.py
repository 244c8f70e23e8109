"""RunService over real gRPC on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from runstream.v1 import run_pb2
from runstream_service.database.pool import Database
from runstream_service.errors.core import DatabaseUnavailable
from tests.support.rpc import Services, info_of, reason_of, serve_on

Code = grpc.StatusCode
FINISHED, FAILED = run_pb2.RUN_STATUS_FINISHED, run_pb2.RUN_STATUS_FAILED


@pytest.fixture
async def services(database: Database) -> AsyncIterator[Services]:
    async with serve_on(database) as running:
        yield running


async def create(services: Services, **fields: Any) -> run_pb2.Run:
    answer: run_pb2.CreateRunResponse = await services.runs.CreateRun(run_pb2.CreateRunRequest(**fields))
    return answer.run


async def get(services: Services, run_id: str) -> run_pb2.Run:
    answer: run_pb2.GetRunResponse = await services.runs.GetRun(run_pb2.GetRunRequest(run_id=run_id))
    return answer.run


async def refused(call: Any) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason_of(caught.value)


# -- experiments -----------------------------------------------------------------------------------------------------


async def test_experiment_is_created_once_and_found_by_id_and_name(services: Services) -> None:
    first = await services.runs.CreateExperiment(run_pb2.CreateExperimentRequest(name="digits"))
    again = await services.runs.CreateExperiment(run_pb2.CreateExperimentRequest(name="digits"))
    assert (first.created, again.created) == (True, False)
    assert first.experiment == again.experiment
    for selector in ({"name": "digits"}, {"experiment_id": first.experiment.experiment_id}):
        found = await services.runs.GetExperiment(run_pb2.GetExperimentRequest(**selector))
        assert found.experiment == first.experiment
    assert first.experiment.lifecycle == run_pb2.LIFECYCLE_ACTIVE
    assert first.experiment.created_unix_us > 1_600_000_000_000_000


async def test_default_experiment_has_id_zero(services: Services) -> None:
    found = await services.runs.GetExperiment(run_pb2.GetExperimentRequest(experiment_id=0))
    assert found.experiment.name == "Default"


async def test_experiment_created_at_once_by_many_is_one(services: Services) -> None:
    request = run_pb2.CreateExperimentRequest(name="race")
    answers = await asyncio.gather(*(services.runs.CreateExperiment(request) for _ in range(32)))
    assert len({answer.experiment.experiment_id for answer in answers}) == 1
    assert sum(answer.created for answer in answers) == 1


async def test_experiments_are_listed_newest_first_page_by_page(services: Services) -> None:
    for number in range(5):
        await services.runs.CreateExperiment(run_pb2.CreateExperimentRequest(name=f"e{number}"))
    names: list[str] = []
    token, pages = "", 0
    while pages == 0 or token:
        request = run_pb2.ListExperimentsRequest(page_size=2, page_token=token)
        page = await services.runs.ListExperiments(request)
        names += [experiment.name for experiment in page.experiments]
        token, pages = page.next_page_token, pages + 1
    assert (names, pages) == (["e4", "e3", "e2", "e1", "e0", "Default"], 3)


async def test_experiment_that_is_missing_or_deleted(services: Services) -> None:
    missing = run_pb2.GetExperimentRequest(experiment_id=99)
    assert await refused(services.runs.GetExperiment(missing)) == (
        Code.NOT_FOUND,
        "EXPERIMENT_NOT_FOUND",
        "experiment_id",
    )
    missing = run_pb2.GetExperimentRequest(name="nobody")
    assert await refused(services.runs.GetExperiment(missing)) == (Code.NOT_FOUND, "EXPERIMENT_NOT_FOUND", "name")
    await services.runs.CreateExperiment(run_pb2.CreateExperimentRequest(name="gone"))
    await services.database.execute("UPDATE experiments SET lifecycle = 'deleted' WHERE name = 'gone'")
    deleted = (Code.FAILED_PRECONDITION, "EXPERIMENT_DELETED")
    again = run_pb2.CreateExperimentRequest(name="gone")
    assert (await refused(services.runs.CreateExperiment(again)))[:2] == deleted
    found = await services.runs.GetExperiment(run_pb2.GetExperimentRequest(name="gone"))
    assert found.experiment.lifecycle == run_pb2.LIFECYCLE_DELETED


async def test_another_workspaces_experiment_and_run_look_like_missing(services: Services) -> None:
    run_id = uuid.uuid4()
    await services.database.execute("INSERT INTO workspaces (workspace_id, name) VALUES (2, 'theirs')")
    await services.database.execute("INSERT INTO experiments (experiment_id, workspace_id, name) VALUES (77, 2, 'e')")
    await services.database.execute(
        "INSERT INTO runs (run_id, experiment_id, name, started_at) VALUES ($1, 77, 'r', now())", run_id
    )
    not_found = (Code.NOT_FOUND, "RUN_NOT_FOUND", "run_id")
    run: dict[str, Any] = {"run_id": run_id.hex}
    assert await refused(services.runs.GetRun(run_pb2.GetRunRequest(**run))) == not_found
    assert await refused(services.runs.DeleteRun(run_pb2.DeleteRunRequest(**run))) == not_found
    assert await refused(services.runs.RestoreRun(run_pb2.RestoreRunRequest(**run))) == not_found
    assert await refused(services.runs.SetTags(run_pb2.SetTagsRequest(**run, tags={"a": "b"}))) == not_found
    assert await refused(services.runs.LogParams(run_pb2.LogParamsRequest(**run, params={"a": "b"}))) == not_found
    assert await refused(services.runs.FinishRun(run_pb2.FinishRunRequest(**run, status=FINISHED))) == not_found
    for request in (run_pb2.GetExperimentRequest(experiment_id=77), run_pb2.GetExperimentRequest(name="e")):
        assert (await refused(services.runs.GetExperiment(request)))[1] == "EXPERIMENT_NOT_FOUND"
    listed = services.runs.ListRuns(run_pb2.ListRunsRequest(experiment_id=77))
    assert (await refused(listed))[1] == "EXPERIMENT_NOT_FOUND"
    # An experiment of the same name is another one here.
    mine = await services.runs.CreateExperiment(run_pb2.CreateExperimentRequest(name="e"))
    assert mine.created


# -- runs ------------------------------------------------------------------------------------------------------------


async def test_run_without_any_field_gets_id_name_time_and_default_experiment(services: Services) -> None:
    run = await create(services)
    assert re.fullmatch(r"[0-9a-f]{32}", run.run_id)
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d{1,3}", run.name)
    assert (run.experiment, run.experiment_id, run.status) == ("Default", 0, run_pb2.RUN_STATUS_RUNNING)
    assert run.start_time_unix_us > 1_600_000_000_000_000
    assert not run.HasField("end_time_unix_us")
    assert await get(services, run.run_id) == run


async def test_run_keeps_all_that_its_creator_said(services: Services) -> None:
    fields = {
        "run_id": uuid.uuid4().hex,
        "experiment": "Ünïcode / 'quoted' \"name\"; DROP TABLE runs",
        "name": "línea\n2",
        "user": "me",
        "start_time_unix_us": -1,
        "params": {"lr": "0.1", "日本": "", "a'b": "x" * 6_000},
        "tags": {"t": "\n\t'"},
    }
    run = await create(services, **fields)
    stored = await get(services, run.run_id)
    assert stored == run
    assert {name: getattr(stored, name) for name in fields if name not in ("params", "tags")} == {
        name: value for name, value in fields.items() if name not in ("params", "tags")
    }
    assert (dict(stored.params), dict(stored.tags)) == (fields["params"], fields["tags"])


async def test_run_created_at_once_by_all_ranks_is_one_and_all_get_the_same(services: Services) -> None:
    run_id = uuid.uuid4().hex
    requests = [
        run_pb2.CreateRunRequest(run_id=run_id, experiment="race", params={"lr": "0.1"}, tags={"rank": str(rank)})
        for rank in range(32)
    ]
    answers = await asyncio.gather(*(services.runs.CreateRun(request) for request in requests))
    assert sum(answer.created for answer in answers) == 1
    assert len({answer.run.SerializeToString(deterministic=True) for answer in answers}) == 1
    (winner,) = [rank for rank, answer in enumerate(answers) if answer.created]
    assert dict(answers[0].run.tags) == {"rank": str(winner)}


@pytest.mark.parametrize("unix_us", [-62_135_596_799_999_999, -1, 1, 253_402_300_799_999_998])
async def test_times_of_a_run_are_exact_to_the_microsecond(services: Services, unix_us: int) -> None:
    run = await create(services, start_time_unix_us=unix_us)
    request = run_pb2.FinishRunRequest(run_id=run.run_id, status=FINISHED, end_time_unix_us=unix_us)
    await services.runs.FinishRun(request)
    stored = await get(services, run.run_id)
    assert (run.start_time_unix_us, stored.start_time_unix_us, stored.end_time_unix_us) == (unix_us,) * 3


async def test_existing_run_is_answered_as_it_is_and_not_changed(services: Services) -> None:
    run = await create(services, name="first", params={"a": "1"})
    again = await services.runs.CreateRun(
        run_pb2.CreateRunRequest(run_id=run.run_id, name="second", params={"a": "2", "b": "3"})
    )
    assert not again.created
    assert again.run == run


async def test_run_id_of_another_experiment_is_refused_and_creates_nothing(services: Services) -> None:
    run = await create(services, experiment="one")
    request = run_pb2.CreateRunRequest(run_id=run.run_id, experiment="two")
    assert await refused(services.runs.CreateRun(request)) == (Code.ALREADY_EXISTS, "RUN_IN_OTHER_EXPERIMENT", "run_id")
    two = run_pb2.GetExperimentRequest(name="two")
    assert (await refused(services.runs.GetExperiment(two)))[1] == "EXPERIMENT_NOT_FOUND"


async def test_runs_are_listed_newest_first_also_when_they_began_together(services: Services) -> None:
    times = [5, 5, 5, 3, 9]
    made = [await create(services, experiment="list", start_time_unix_us=time * 10**12) for time in times]
    hidden = await create(services, experiment="list")
    await services.runs.DeleteRun(run_pb2.DeleteRunRequest(run_id=hidden.run_id))
    found: list[run_pb2.Run] = []
    token, pages = "", 0
    while pages == 0 or token:
        request = run_pb2.ListRunsRequest(experiment_id=made[0].experiment_id, page_size=2, page_token=token)
        page = await services.runs.ListRuns(request)
        found += page.runs
        token, pages = page.next_page_token, pages + 1
    expected = sorted(made, key=lambda run: (-run.start_time_unix_us, run.run_id))
    assert [run.run_id for run in found] == [run.run_id for run in expected]
    assert pages == 3


async def test_page_tokens_are_checked(services: Services) -> None:
    first = await create(services, experiment="a")
    second = await create(services, experiment="b")
    for _ in range(2):
        await create(services, experiment="a")
    page = await services.runs.ListRuns(run_pb2.ListRunsRequest(experiment_id=first.experiment_id, page_size=1))
    token = page.next_page_token
    invalid = (Code.INVALID_ARGUMENT, "INVALID_FIELD", "page_token")
    swapped = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
    for wrong in ("x", "not base64!", "ünïcode", token[:-1], "A" + token, swapped, "AAAAAAAA"):
        request = run_pb2.ListRunsRequest(experiment_id=first.experiment_id, page_token=wrong)
        assert await refused(services.runs.ListRuns(request)) == invalid
    elsewhere = run_pb2.ListRunsRequest(experiment_id=second.experiment_id, page_token=token)
    assert await refused(services.runs.ListRuns(elsewhere)) == invalid
    assert await refused(services.runs.ListExperiments(run_pb2.ListExperimentsRequest(page_token=token))) == invalid


async def test_finish_sets_status_and_time_and_a_repeat_changes_nothing(services: Services) -> None:
    run = await create(services)
    await services.runs.FinishRun(run_pb2.FinishRunRequest(run_id=run.run_id, status=FINISHED))
    first = await get(services, run.run_id)
    await services.runs.FinishRun(run_pb2.FinishRunRequest(run_id=run.run_id, status=FINISHED))
    assert await get(services, run.run_id) == first
    assert first.status == FINISHED
    assert first.end_time_unix_us >= run.start_time_unix_us
    await services.runs.FinishRun(run_pb2.FinishRunRequest(run_id=run.run_id, status=FAILED, end_time_unix_us=7))
    last = await get(services, run.run_id)
    assert (last.status, last.end_time_unix_us) == (FAILED, 7)


async def test_finished_run_still_takes_params_and_tags(services: Services) -> None:
    run = await create(services)
    await services.runs.FinishRun(run_pb2.FinishRunRequest(run_id=run.run_id, status=FINISHED))
    await services.runs.LogParams(run_pb2.LogParamsRequest(run_id=run.run_id, params={"late": "1"}))
    await services.runs.SetTags(run_pb2.SetTagsRequest(run_id=run.run_id, tags={"late": "1"}))
    stored = await get(services, run.run_id)
    assert (dict(stored.params), dict(stored.tags)) == ({"late": "1"}, {"late": "1"})


async def test_params_are_written_once_and_a_change_writes_nothing(services: Services) -> None:
    run = await create(services, params={"lr": "0.1"})
    await services.runs.LogParams(run_pb2.LogParamsRequest(run_id=run.run_id, params={"lr": "0.1", "depth": "3"}))
    change = run_pb2.LogParamsRequest(run_id=run.run_id, params={"lr": "0.2", "new": "1"})
    assert await refused(services.runs.LogParams(change)) == (Code.ALREADY_EXISTS, "PARAM_CHANGED", "params")
    assert dict((await get(services, run.run_id)).params) == {"lr": "0.1", "depth": "3"}


async def test_ranks_that_write_the_same_params_and_tags_at_once_do_not_disturb_each_other(services: Services) -> None:
    run = await create(services)
    names = [f"k{number}" for number in range(50)]
    params = [run_pb2.LogParamsRequest(run_id=run.run_id, params=dict.fromkeys(names, "v")) for _ in range(16)]
    tags = [run_pb2.SetTagsRequest(run_id=run.run_id, tags=dict.fromkeys(names[::-1], str(n))) for n in range(16)]
    await asyncio.gather(*map(services.runs.LogParams, params), *map(services.runs.SetTags, tags))
    stored = await get(services, run.run_id)
    assert dict(stored.params) == dict.fromkeys(names, "v")
    assert len(set(stored.tags.values())) == 1


async def test_ranks_that_race_with_different_params_get_one_winner_and_no_mixture(services: Services) -> None:
    run = await create(services)
    names = [f"k{number}" for number in range(20)]
    requests = [run_pb2.LogParamsRequest(run_id=run.run_id, params=dict.fromkeys(names, str(n))) for n in range(8)]
    outcomes = await asyncio.gather(*map(services.runs.LogParams, requests), return_exceptions=True)
    losers = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    assert {reason_of(error)[1] for error in losers} == {"PARAM_CHANGED"}
    assert len(losers) == 7
    assert len(set((await get(services, run.run_id)).params.values())) == 1


async def test_deleted_run_refuses_writes_until_it_is_restored(services: Services) -> None:
    run = await create(services, params={"a": "1"})
    for _ in range(2):  # deleting twice is no error
        await services.runs.DeleteRun(run_pb2.DeleteRunRequest(run_id=run.run_id))
    deleted = (Code.FAILED_PRECONDITION, "RUN_DELETED", "run_id")
    for call in (
        services.runs.LogParams(run_pb2.LogParamsRequest(run_id=run.run_id, params={"b": "1"})),
        services.runs.SetTags(run_pb2.SetTagsRequest(run_id=run.run_id, tags={"b": "1"})),
        services.runs.CreateRun(run_pb2.CreateRunRequest(run_id=run.run_id)),
    ):
        assert await refused(call) == deleted
    stored = await get(services, run.run_id)
    assert (stored.lifecycle, dict(stored.params)) == (run_pb2.LIFECYCLE_DELETED, {"a": "1"})
    for _ in range(2):
        await services.runs.RestoreRun(run_pb2.RestoreRunRequest(run_id=run.run_id))
    assert await get(services, run.run_id) == run
    await services.runs.SetTags(run_pb2.SetTagsRequest(run_id=run.run_id, tags={"b": "1"}))


async def test_deletion_fences_the_runs_producers_and_no_others(services: Services) -> None:
    mine, other = await create(services), await create(services)
    open_producer = "SELECT session FROM open_producer(1, $1, $2, 0, 0)"
    producers = [uuid.uuid4() for _ in range(3)]
    for producer, run in zip(producers, (mine, mine, other), strict=True):
        await services.database.execute(open_producer, uuid.UUID(run.run_id), producer)
    await services.runs.DeleteRun(run_pb2.DeleteRunRequest(run_id=mine.run_id))
    sessions = [
        await services.database.fetchval("SELECT session FROM producers WHERE producer_id = $1", producer)
        for producer in producers
    ]
    assert sessions == [2, 2, 1]


async def test_deletion_waits_for_a_stream_that_is_just_opening_and_then_fences_it(services: Services) -> None:
    run = await create(services)
    producer = uuid.uuid4()
    async with services.database.transaction() as opening:
        await opening.execute("SELECT open_producer(1, $1, $2, 0, 0)", uuid.UUID(run.run_id), producer)
        delete = asyncio.ensure_future(services.runs.DeleteRun(run_pb2.DeleteRunRequest(run_id=run.run_id)))
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        while not await services.database.fetchval(waiting):
            await asyncio.sleep(0.01)
        assert not delete.done()
    await delete
    session = await services.database.fetchval("SELECT session FROM producers WHERE producer_id = $1", producer)
    assert session == 2


# -- wrong requests --------------------------------------------------------------------------------------------------

RUN = "0" * 32


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("CreateExperiment", run_pb2.CreateExperimentRequest(), "name"),
        ("CreateExperiment", run_pb2.CreateExperimentRequest(name="x" * 501), "name"),
        ("CreateExperiment", run_pb2.CreateExperimentRequest(name="a\nb"), "name"),
        ("GetExperiment", run_pb2.GetExperimentRequest(), "selector"),
        ("GetExperiment", run_pb2.GetExperimentRequest(name="\0"), "name"),
        ("ListExperiments", run_pb2.ListExperimentsRequest(page_size=-1), "page_size"),
        ("ListExperiments", run_pb2.ListExperimentsRequest(page_size=1001), "page_size"),
        ("CreateRun", run_pb2.CreateRunRequest(run_id="abc"), "run_id"),
        ("CreateRun", run_pb2.CreateRunRequest(experiment="\x7f"), "experiment"),
        ("CreateRun", run_pb2.CreateRunRequest(name="x" * 501), "name"),
        ("CreateRun", run_pb2.CreateRunRequest(name="\0"), "name"),
        ("CreateRun", run_pb2.CreateRunRequest(user="x" * 257), "user"),
        ("CreateRun", run_pb2.CreateRunRequest(start_time_unix_us=2**63 - 1), "start_time_unix_us"),
        ("CreateRun", run_pb2.CreateRunRequest(start_time_unix_us=-(2**63)), "start_time_unix_us"),
        ("CreateRun", run_pb2.CreateRunRequest(start_time_unix_us=253_402_300_799_999_999), "start_time_unix_us"),
        ("CreateRun", run_pb2.CreateRunRequest(params={"": "x"}), "params"),
        ("CreateRun", run_pb2.CreateRunRequest(tags={"k": "x" * 8_001}), "tags"),
        ("GetRun", run_pb2.GetRunRequest(), "run_id"),
        ("GetRun", run_pb2.GetRunRequest(run_id="0" * 31 + "G"), "run_id"),
        ("GetRun", run_pb2.GetRunRequest(run_id="'; DROP TABLE runs; --"), "run_id"),
        ("ListRuns", run_pb2.ListRunsRequest(page_size=5_000), "page_size"),
        ("SearchRuns", run_pb2.SearchRunsRequest(page_size=5_000), "page_size"),
        ("SearchRuns", run_pb2.SearchRunsRequest(page_token="x"), "page_token"),
        ("SearchRuns", run_pb2.SearchRunsRequest(experiment_ids=range(10_001)), "experiment_ids"),
        ("SearchRuns", run_pb2.SearchRunsRequest(filter="metrics.a > 1 OR"), "filter"),
        ("SearchRuns", run_pb2.SearchRunsRequest(order_by=["metrics.a UP"]), "order_by"),
        ("FinishRun", run_pb2.FinishRunRequest(run_id=RUN), "status"),
        ("FinishRun", run_pb2.FinishRunRequest(run_id=RUN, status=run_pb2.RUN_STATUS_RUNNING), "status"),
        ("FinishRun", run_pb2.FinishRunRequest(run_id=RUN, status=99), "status"),  # type: ignore[arg-type] # open enum
        ("LogParams", run_pb2.LogParamsRequest(run_id=RUN, params={"k" * 251: ""}), "params"),
        ("LogParams", run_pb2.LogParamsRequest(run_id=RUN, params={"k": "x" * 6_001}), "params"),
        ("LogParams", run_pb2.LogParamsRequest(run_id=RUN, params={"k": "\0"}), "params"),
        ("LogParams", run_pb2.LogParamsRequest(run_id=RUN, params={str(n): "" for n in range(1_001)}), "params"),
        ("SetTags", run_pb2.SetTagsRequest(run_id=RUN, tags={"a\tb": ""}), "tags"),
        ("DeleteRun", run_pb2.DeleteRunRequest(run_id="x"), "run_id"),
        ("RestoreRun", run_pb2.RestoreRunRequest(run_id=RUN + "0"), "run_id"),
    ],
)
async def test_wrong_field_is_refused_by_name(services: Services, method: str, request_: Any, field: str) -> None:
    outcome = await refused(getattr(services.runs, method)(request_))
    assert outcome == (Code.INVALID_ARGUMENT, "INVALID_FIELD", field)


async def test_where_a_filter_is_wrong_is_in_the_error(services: Services) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=r"expected AND, OR or the end, found 'loss'") as raised:
        await services.runs.SearchRuns(run_pb2.SearchRunsRequest(filter="metrics.loss < 1 loss"))
    assert info_of(raised.value).metadata["position"] == "17"


async def test_key_of_250_characters_is_taken(services: Services) -> None:
    key = "🙂" * 250
    run = await create(services, params={key: "1"}, tags={key: "x" * 8_000}, experiment="é" * 500)
    assert dict((await get(services, run.run_id)).params) == {key: "1"}


async def test_unknown_run_is_not_found_by_any_method(services: Services) -> None:
    for method, request in (
        ("GetRun", run_pb2.GetRunRequest(run_id=RUN)),
        ("FinishRun", run_pb2.FinishRunRequest(run_id=RUN, status=FINISHED)),
        ("LogParams", run_pb2.LogParamsRequest(run_id=RUN, params={"a": "b"})),
        ("SetTags", run_pb2.SetTagsRequest(run_id=RUN)),
        ("DeleteRun", run_pb2.DeleteRunRequest(run_id=RUN)),
        ("RestoreRun", run_pb2.RestoreRunRequest(run_id=RUN)),
    ):
        outcome = await refused(getattr(services.runs, method)(request))
        assert outcome == (Code.NOT_FOUND, "RUN_NOT_FOUND", "run_id")


async def test_bytes_that_are_no_message_are_the_callers_fault_and_counted(services: Services) -> None:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = services.channel.unary_unary(
        "/runstream.v1.RunService/GetRun"
    )
    assert (await refused(call(b"\xff\xff\xff")))[:2] == (Code.INVALID_ARGUMENT, "INVALID_FIELD")
    await create(services)
    page = (await services.metrics.render(""))[0].decode()
    assert 'runstream_grpc_requests_total{code="INVALID_ARGUMENT",method="/runstream.v1.RunService/GetRun"} 1.0' in page
    assert 'runstream_grpc_requests_total{code="OK",method="/runstream.v1.RunService/CreateRun"} 1.0' in page


async def test_database_that_is_away_is_unavailable_with_a_delay_to_retry_after(
    database_url: str, database: Database
) -> None:
    own = await Database.open(database_url)
    async with serve_on(own) as services:
        await create(services)
        await own._pool.close()
        outcome = await refused(services.runs.GetRun(run_pb2.GetRunRequest(run_id=RUN)))
        assert outcome == (Code.UNAVAILABLE, "DATABASE_UNAVAILABLE", "")


async def test_a_call_may_be_as_large_as_the_contract_says(services):
    run = await create(services, experiment="e")
    tags = {f"tag/{number}": "x" * 4_000 for number in range(1_000)}
    await services.runs.SetTags(run_pb2.SetTagsRequest(run_id=run.run_id, tags=tags))
    assert dict((await get(services, run.run_id)).tags) == tags
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await services.runs.SetTags(run_pb2.SetTagsRequest(run_id=run.run_id, tags=dict.fromkeys(tags, "x" * 8000)))
    assert caught.value.code() is Code.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("bounds", [{"max_calls": 3}, {"max_bytes_of_calls": 3 * 40}])
async def test_calls_above_the_bound_are_told_to_retry(database, bounds):
    """A GetRun is 34 bytes long."""
    async with serve_on(database, **bounds) as services:
        run = await create(services, experiment="e")
        async with database.transaction() as connection:
            await connection.execute("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")
            held = [asyncio.create_task(get(services, run.run_id)) for _ in range(3)]
            while database.in_use < 4:
                await asyncio.sleep(0.01)
            assert await refused(services.runs.GetRun(run_pb2.GetRunRequest(run_id=run.run_id))) == (
                Code.RESOURCE_EXHAUSTED, "OVERLOADED", "",
            )  # fmt: skip
        assert [found.run_id for found in await asyncio.gather(*held)] == [run.run_id] * 3
        assert await get(services, run.run_id) == run


async def test_a_replica_that_has_lost_its_database_says_so_at_once(database):
    def lost() -> None:
        raise DatabaseUnavailable("lost", retry_after_s=0.1)

    async with serve_on(database, check=lost) as services, database.transaction() as connection:
        await connection.execute("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")
        answer = refused(services.runs.GetRun(run_pb2.GetRunRequest(run_id=uuid.uuid4().hex)))
        assert await asyncio.wait_for(answer, 5) == (Code.UNAVAILABLE, "DATABASE_UNAVAILABLE", "")
