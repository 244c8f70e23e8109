"""Searches of runs and experiments compared with a stock server: the same ids in the same order, the same codes."""

from __future__ import annotations

import json
import random
import uuid
from typing import Any

import pytest

import runstream
from runstream_service.database.copy_rows import EPOCH_2000_UNIX_US
from runstream_service.database.pool import Database
from runstream_service.errors.core import InvalidField
from runstream_service.query.reading.read_transaction import ReadPool
from runstream_service.query.run_search import metric_columns
from runstream_service.query.run_search.run_search import RunSearch, RunSearchQuery
from tests.support.access import execute
from tests.support.callers import ANYONE
from tests.support.hot import put_hot
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

SEED = 20_261_122
RUNS = 30
SEARCHES = 80
VALUES = ["0.5", "1", "-2", "NaN", "Infinity", "-Infinity"]
TEXTS = ["x", "X", "xy", "a%b", "a_b", "ab", "\\", "é", ""]


def a_run(chance: random.Random, number: int) -> dict[str, Any]:
    return {
        "start": 1_700_000_000_000 + chance.randrange(4) * 1_000,
        "name": f"run {number % 7}",
        "metrics": {key: chance.choice(VALUES) for key in ("m1", "m 2", "m3") if chance.random() < 0.8},
        "params": {key: chance.choice(TEXTS[:-1]) for key in ("p1", "p 2") if chance.random() < 0.8},
        "tags": {key: chance.choice(TEXTS) for key in ("t1", "t 2") if chance.random() < 0.8},
    }


def write_to_stock(rest: Rest, experiment_id: str, run: dict[str, Any]) -> str:
    created = rest.post(
        "runs/create", {"experiment_id": experiment_id, "start_time": run["start"], "run_name": run["name"]}
    )
    run_id = str(created.body["run"]["info"]["run_id"])
    entries = {what: [{"key": k, "value": v} for k, v in run[what].items()] for what in ("params", "tags")}
    metrics = [{"key": k, "value": v, "timestamp": 1, "step": 0} for k, v in run["metrics"].items()]
    assert rest.post("runs/log-batch", {"run_id": run_id, "metrics": metrics, **entries}).status == 200
    return run_id


async def write_to_ours(database: Database, run_id: str, run: dict[str, Any], *, hot: bool) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO runs (run_id, experiment_id, name, started_at) "
            "VALUES ($1, 0, $2, to_timestamp($3::bigint / 1000))",
            run_id,
            run["name"],
            run["start"],
        )
        for what in ("params", "tags"):
            rows = [(run_id, key, value) for key, value in run[what].items()]
            await connection.executemany(f"INSERT INTO {what} VALUES ($1, $2, $3)", rows)
        for key, value in run["metrics"].items():
            series = await connection.fetchval(
                "INSERT INTO series (run_id, key, rank, attempt) VALUES ($1, $2, -1, 0) RETURNING series_id",
                run_id,
                key,
            )
            if hot:
                await put_hot(connection, [(series, 0, -EPOCH_2000_UNIX_US, float(value))])
            else:
                await connection.execute("INSERT INTO latest_values VALUES ($1, 0, 'epoch', $2)", series, float(value))


def a_filter(chance: random.Random) -> str:
    kinds = [
        lambda: (
            f"metrics.{chance.choice(['m1', '`m 2`', 'm3'])} {chance.choice(['=', '!=', '<', '>=', '>', '<='])} "
            + chance.choice(["0.5", "1", "-2", "0", "1e308", "1.7976931348623157e308"])
        ),
        lambda: (
            f"{chance.choice(['params.p1', 'params.`p 2`', 'tags.t1', 'tags.`t 2`', 'attributes.run_name'])} "
            + f"{chance.choice(['=', '!=', 'LIKE', 'ILIKE'])} "
            + chance.choice(["'x'", "'X%'", "'a_b'", "'a%'", "'%'", "'\\'", "'run 3'", "'é'"])
        ),
        lambda: f"{chance.choice(['params.p1', 'tags.t1'])} IS {chance.choice(['', 'NOT '])}NULL",
        lambda: f"start_time {chance.choice(['=', '!=', '<', '>='])} {1_700_000_000_000 + chance.randrange(4) * 1_000}",
        lambda: f"status {chance.choice(['=', '!='])} 'RUNNING'",
    ]
    return " AND ".join(chance.choice(kinds)() for _ in range(chance.randint(0, 2)))


def an_order(chance: random.Random) -> list[str]:
    fields = ["metrics.m1", "metrics.`m 2`", "params.p1", "tags.`t 2`", "start_time", "run_name", "run_id", "end_time"]
    return [f"{field} {chance.choice(['ASC', 'DESC'])}" for field in chance.sample(fields, chance.randint(0, 3))]


async def roll_up(database: Database) -> None:
    """Each series here has one hot point."""
    await database.execute("INSERT INTO latest_values SELECT series_id, step, time, value FROM metric_points_hot")
    await database.execute("TRUNCATE hot_batches")


# The start of the stock server is part of it, which takes a minute on a machine that has other work.
@pytest.mark.timeout(300)
async def test_generated_searches_of_runs_find_what_stock_mlflow_finds(
    database: Database, theirs: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(SEED)
    created = theirs.post("experiments/create", {"name": f"search {chance.random()}"})
    experiment_id = created.body["experiment_id"]
    for number in range(RUNS):
        run = a_run(chance, number)
        await write_to_ours(database, write_to_stock(theirs, experiment_id, run), run, hot=number % 2 == 0)
    search = RunSearch(ReadPool(database, max_reads=2))
    for number in range(SEARCHES):
        # Series of runs by name or of whole experiments; with hot points, and later without any.
        monkeypatch.setattr(metric_columns, "MANY_RUNS", 1 if number % 2 else 1_000)
        if number == SEARCHES // 2:
            await roll_up(database)
        filter_, order_by = a_filter(chance), an_order(chance)
        body = {"experiment_ids": [experiment_id], "filter": filter_, "order_by": order_by, "max_results": 20}
        answer = theirs.post("runs/search", body)
        assert answer.status == 200, answer.content
        expected = [run["info"]["run_id"] for run in answer.body.get("runs", [])]
        found, token = await search.search(
            ANYONE, RunSearchQuery(experiment_ids=[0], filter=filter_, order_by=order_by, max_results=20)
        )
        said = f"seed {SEED}, search {number}: {json.dumps(body)}"
        assert [run_id.hex for run_id in found] == expected, said
        assert bool(token) == ("next_page_token" in answer.body), said


async def test_a_search_by_two_metrics_reads_them_at_once_or_does_with_one_connection(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_columns, "MANY_RUNS", 1)
    chance = random.Random(SEED)
    for number in range(RUNS):
        await write_to_ours(database, f"{number:032x}", a_run(chance, number), hot=False)
    query = RunSearchQuery(experiment_ids=[0], filter="metrics.m1 > 0", order_by=["metrics.m3 DESC"])
    only_one = await Database.open(database_url, max_size=1)
    try:
        with_one, _ = await RunSearch(ReadPool(only_one, max_reads=1)).search(ANYONE, query)
    finally:
        await only_one.close()
    with_two, _ = await RunSearch(ReadPool(database, max_reads=1)).search(ANYONE, query)
    assert with_two == with_one
    assert database.size == 2


async def test_a_second_connection_reads_the_same_snapshot(database: Database) -> None:
    chance, read_pool = random.Random(SEED), ReadPool(database, max_reads=1)
    async with read_pool.transaction() as transaction:
        await write_to_ours(database, f"{1:032x}", a_run(chance, 1), hot=True)
        async with read_pool.second_connection(transaction) as second:
            assert second is not None
            count = "SELECT count(*) FROM runs"
            assert (await second.fetch_sql(count))[0][0] == 0
            assert await database.fetchval(count) == 1


async def test_pages_of_runs_are_the_whole(database: Database) -> None:
    chance = random.Random(SEED)
    for number in range(RUNS):
        await write_to_ours(database, f"{number:032x}", a_run(chance, number), hot=True)
    search = RunSearch(ReadPool(database, max_reads=2))
    for order_by in (["metrics.m1"], ["params.p1"]):
        whole, _ = await search.search(ANYONE, RunSearchQuery(experiment_ids=[0], order_by=order_by))
        pages, token = [], ""
        while True:
            page, token = await search.search(
                ANYONE, RunSearchQuery(experiment_ids=[0], order_by=order_by, max_results=7, page_token=token)
            )
            pages += page
            if not token:
                break
        assert pages == whole
        assert len(whole) == RUNS
    with pytest.raises(InvalidField, match="page_token"):
        await search.search(ANYONE, RunSearchQuery(experiment_ids=[0], page_token="garbage"))


def test_searches_over_http(ours: Rest, experiment_id: str) -> None:
    run = ours.post("runs/create", {"experiment_id": experiment_id, "run_name": "only"}).body["run"]["info"]["run_id"]
    ours.post("runs/log-parameter", {"run_id": run, "key": "p", "value": "v"})
    found = ours.post("runs/search", {"experiment_ids": [experiment_id], "filter": "params.p = 'v'"}).body["runs"]
    assert [one["info"]["run_id"] for one in found] == [run]
    assert ours.post("runs/search", {}).body == {}
    deleted = {"experiment_ids": [experiment_id], "run_view_type": "DELETED_ONLY"}
    assert ours.post("runs/search", deleted).body == {}
    assert ours.post("runs/search", {"experiment_ids": [experiment_id], "max_results": 50_001}).error[:2] == (
        400,
        "INVALID_PARAMETER_VALUE",
    )
    assert ours.get("experiments/search").status == 400
    by_id = {"max_results": 5, "filter": f"experiment_id = '{experiment_id}'"}
    for answer in (ours.get("experiments/search", by_id), ours.post("experiments/search", by_id)):
        assert [one["experiment_id"] for one in answer.body["experiments"]] == [experiment_id]


# What a stock server refuses, and what it does not.
BAD_FILTERS = [
    "metrics.a",
    "metrics.a >",
    "metrics.a > 'x'",
    "metrics.a LIKE '1'",
    "params.p = 1",
    "params.p > 'x'",
    "params.p IN ('x')",
    "tags.t = x",
    "nothing.t = 'x'",
    "attributes.nothing = 'x'",
    "status IN ('RUNNING')",
    "start_time = 'x'",
    "run_id > 'x'",
    "run_id IN 'x'",
    "dataset.nothing = 'x'",
    "dataset.name > 'x'",
    "metrics.a IS NULL",
    "artifact_uri = 1",
    "a b c",
    "'",
]


@pytest.mark.parametrize("filter_", BAD_FILTERS)
def test_filter_that_stock_mlflow_refuses_is_refused_with_its_code(
    filter_: str, ours: Rest, theirs: Rest, experiment_id: str
) -> None:
    expected = theirs.post("runs/search", {"experiment_ids": ["0"], "filter": filter_})
    found = ours.post("runs/search", {"experiment_ids": [experiment_id], "filter": filter_})
    assert (found.status, found.body.get("error_code")) == (expected.status, expected.body.get("error_code"))
    assert found.status == 400


DATASETS = [("a", "1", "train"), ("A b", "2", "eval"), ("c", "2", None)]
DATASET_FILTERS = [
    "dataset.name = 'a'",
    "dataset.name != 'a'",
    "datasets.name LIKE 'a%'",
    "dataset.name ILIKE 'a%'",
    "dataset.name IN ('a', 'c')",
    "dataset.digest NOT IN ('2')",
    "dataset.digest = '2' AND dataset.context = 'eval'",
    "dataset.name = 'a' AND dataset.context = 'eval'",
    "dataset.context != 'train'",
    "dataset.context IN ('train', 'eval')",
    "dataset.context LIKE '%'",
    "artifact_uri LIKE '%/artifacts'",
    "artifact_uri ILIKE '%/ARTIFACTS'",
    "attributes.artifact_uri = 'x'",
    "artifact_uri != 'x'",
]


def make_runs_with_datasets(rest: Rest) -> tuple[str, list[str]]:
    """An experiment, and its runs: without any, one of each, and one with all."""
    created = rest.post("experiments/create", {"name": f"datasets {uuid.uuid4().hex}"})
    experiment_id = str(created.body["experiment_id"])
    runs = []
    for number, datasets in enumerate([[], *([one] for one in DATASETS), DATASETS]):
        body = {"experiment_id": experiment_id, "start_time": 1_000 * number}
        run_id = str(rest.post("runs/create", body).body["run"]["info"]["run_id"])
        inputs = [
            {
                "dataset": {"name": name, "digest": digest, "source_type": "local", "source": "{}"},
                "tags": [{"key": "mlflow.data.context", "value": context}] if context else [],
            }
            for name, digest, context in datasets
        ]
        assert rest.post("runs/log-inputs", {"run_id": run_id, "datasets": inputs}).status == 200
        runs.append(run_id)
    return experiment_id, runs


def test_filters_by_dataset_and_by_place_of_artifacts_find_what_stock_mlflow_finds(ours: Rest, theirs: Rest) -> None:
    places = [(rest, *make_runs_with_datasets(rest)) for rest in (ours, theirs)]
    for filter_ in DATASET_FILTERS:
        found = []
        for rest, experiment_id, runs in places:
            answer = rest.post("runs/search", {"experiment_ids": [experiment_id], "filter": filter_})
            assert answer.status == 200, (filter_, answer.content)
            found.append([runs.index(run["info"]["run_id"]) for run in answer.body.get("runs", [])])
        assert found[0] == found[1], filter_
    rest, experiment_id, runs = places[0]
    uri = rest.get("runs/get", {"run_id": runs[1]}).body["run"]["info"]["artifact_uri"]
    answer = rest.post("runs/search", {"experiment_ids": [experiment_id], "filter": f"artifact_uri = '{uri}'"})
    assert [run["info"]["run_id"] for run in answer.body["runs"]] == [runs[1]]


def test_lowest_rank_and_newest_attempt_are_searched(service: ServeProcess, ours: Rest) -> None:
    experiment, run_ids = f"ranks {uuid.uuid4().hex}", [uuid.uuid4().hex for _ in range(2)]
    # The value to find is that of rank 0, attempt 1: 5 in one run, 6 in the other.
    for number, run_id in enumerate(run_ids):
        for rank, attempt, value in ((1, 0, 1.0), (0, 0, 9.0 - number), (0, 1, 5.0 + number), (2, 3, 2.0)):
            with runstream.start_run(
                experiment, run_id=run_id, rank=rank, attempt=attempt, address=service.grpc_address
            ) as run:
                run.log({"loss": value}, step=rank)
    by_name = ours.get("experiments/get-by-name", {"experiment_name": experiment})
    experiment_id = by_name.body["experiment"]["experiment_id"]
    for filter_, order, expected in (
        ("", "ASC", run_ids),
        ("", "DESC", run_ids[::-1]),
        ("metrics.loss = 5", "ASC", run_ids[:1]),
        ("metrics.loss > 5", "ASC", run_ids[1:]),
        ("metrics.loss < 5", "ASC", []),
        ("metrics.loss > 6", "ASC", []),
    ):
        body = {"experiment_ids": [experiment_id], "filter": filter_, "order_by": [f"metrics.loss {order}"]}
        found = ours.post("runs/search", body).body.get("runs", [])
        assert [one["info"]["run_id"] for one in found] == expected, (filter_, order)


def test_long_pages_are_rendered_in_portions(service: ServeProcess, ours: Rest, experiment_id: str) -> None:
    created = execute(
        service,
        "INSERT INTO runs (run_id, experiment_id, name, started_at) "
        "SELECT gen_random_uuid(), $1, 'run ' || number, 'epoch'::timestamptz + number * interval '1 ms' "
        "FROM generate_series(1, 260) number RETURNING run_id, name",
        int(experiment_id),
    )
    expected = {run_id.hex: name for run_id, name in created}
    found = ours.post("runs/search", {"experiment_ids": [experiment_id], "order_by": ["start_time"]}).body["runs"]
    assert [(one["info"]["run_id"], one["info"]["run_name"]) for one in found] == list(expected.items())
