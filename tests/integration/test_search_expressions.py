"""Filters with AND, OR, NOT and parentheses, compared with the same logic in plain Python, on real PostgreSQL."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runstream.v1 import run_pb2
from runstream_service.core.experiment_search import ExperimentSearch
from runstream_service.core.model_search import IS_PROMPT, MODELS, RegistryQuery, search
from runstream_service.database.copy_rows import EPOCH_2000_UNIX_US
from runstream_service.database.pool import Database
from runstream_service.query.reading.read_transaction import ReadPool
from runstream_service.query.run_search import metric_columns
from runstream_service.query.run_search.run_search import RunSearch, RunSearchQuery
from tests.support.callers import ANYONE
from tests.support.examples import examples
from tests.support.hot import put_hot
from tests.support.rpc import Services, serve_on

SEED = 20_261_129
RUNS = 60
Run = dict[str, Any]
Test = Callable[[Run], bool]
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Filter(NamedTuple):
    """A filter, and what it says of a run. `joined`: OR, AND or nothing, so that it gets parentheses where needed."""

    text: str
    test: Test
    joined: str = ""

    def inside(self, outer: str) -> str:
        needs = (outer == "NOT" and self.joined) or (outer == "AND" and self.joined == "OR")
        return f"({self.text})" if needs else self.text


def make_runs() -> list[Run]:
    chance = random.Random(SEED)
    values = [0.5, 1.0, -2.0, float("nan"), float("inf"), float("-inf")]
    return [
        {
            "id": UUID(int=number + 1).hex,
            "name": f"run {number % 5}",
            "end_time": chance.choice([None, 1_000, 2_000]),
            "metrics": {key: chance.choice(values) for key in ("m1", "m2", "m3") if chance.random() < 0.7},
            "params": {key: chance.choice("xyz") for key in ("p1", "p2") if chance.random() < 0.7},
            "tags": {key: chance.choice("xyz") for key in ("t1", "t2") if chance.random() < 0.7},
        }
        for number in range(RUNS)
    ]


ALL = make_runs()


async def write_runs(database: Database) -> None:
    if await database.fetchval("SELECT EXISTS (SELECT FROM runs)"):
        return
    for number, run in enumerate(ALL):
        async with database.transaction() as connection:
            await connection.execute(
                "INSERT INTO runs (run_id, experiment_id, name, started_at, ended_at) "
                "VALUES ($1, 0, $2, to_timestamp($3::bigint), to_timestamp($4::bigint / 1000))",
                run["id"],
                run["name"],
                number,
                run["end_time"],
            )
            for what in ("params", "tags"):
                rows = [(run["id"], key, value) for key, value in run[what].items()]
                await connection.executemany(f"INSERT INTO {what} VALUES ($1, $2, $3)", rows)
            for key, value in run["metrics"].items():
                series = await connection.fetchval(
                    "INSERT INTO series (run_id, key, rank, attempt) VALUES ($1, $2, 0, 0) RETURNING series_id",
                    run["id"],
                    key,
                )
                if number % 3 == 0:
                    await put_hot(connection, [(series, 0, -EPOCH_2000_UNIX_US, value)])
                else:
                    await connection.execute(
                        "INSERT INTO latest_values (series_id, step, time, value) VALUES ($1, 0, 'epoch', $2)",
                        series,
                        value,
                    )


def of_metric(key: str, sign: str, value: float) -> Filter:
    return Filter(
        f"metrics.{key} {sign} {value}", lambda run: key in run["metrics"] and COMPARE[sign](run["metrics"][key], value)
    )


def of_text(what: str, key: str, sign: str, value: str) -> Filter:
    return Filter(
        f"{what}.{key} {sign} '{value}'", lambda run: key in run[what] and COMPARE[sign](run[what][key], value)
    )


def of_presence(what: str, key: str, there: bool) -> Filter:
    return Filter(f"{what}.{key} IS {'NOT ' if there else ''}NULL", lambda run: (key in run[what]) == there)


def of_end(sign: str, value: int) -> Filter:
    return Filter(
        f"end_time {sign} {value}", lambda run: run["end_time"] is not None and COMPARE[sign](run["end_time"], value)
    )


def of_names(numbers: list[int], wanted: bool) -> Filter:
    ids = [ALL[number]["id"] for number in numbers]
    listed = ", ".join(f"'{one}'" for one in ids)
    return Filter(f"run_id {'' if wanted else 'NOT '}IN ({listed})", lambda run: (run["id"] in ids) == wanted)


def opposite(one: Filter) -> Filter:
    return Filter(f"NOT {one.inside('NOT')}", lambda run: not one.test(run))


def every(parts: list[Filter]) -> Filter:
    text = " AND ".join(one.inside("AND") for one in parts)
    return Filter(text, lambda run: all(one.test(run) for one in parts), "AND")


def some(parts: list[Filter]) -> Filter:
    return Filter(" OR ".join(one.text for one in parts), lambda run: any(one.test(run) for one in parts), "OR")


def in_parentheses(one: Filter) -> Filter:
    return Filter(f"({one.text})", one.test)


signs = st.sampled_from(sorted(COMPARE))
texts = st.sampled_from(["params", "tags"])
comparisons = st.one_of(
    st.builds(of_metric, st.sampled_from(["m1", "m2", "m3"]), signs, st.sampled_from([0.5, 1.0, -2.0, 0.0])),
    st.builds(
        lambda what, number, sign, value: of_text(what, f"{what[0]}{number}", sign, value),
        texts,
        st.sampled_from([1, 2]),
        st.sampled_from(["=", "!="]),
        st.sampled_from("xyz"),
    ),
    st.builds(lambda what, there: of_presence(what, f"{what[0]}1", there), texts, st.booleans()),
    st.builds(of_end, signs, st.sampled_from([1_000, 2_000, 1_500])),
    st.builds(of_names, st.lists(st.integers(0, RUNS - 1), min_size=1, max_size=30), st.booleans()),
)
filters = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds(opposite, inner),
        st.builds(every, st.lists(inner, min_size=2, max_size=3)),
        st.builds(some, st.lists(inner, min_size=2, max_size=3)),
        st.builds(in_parentheses, inner),
    ),
    max_leaves=12,
)


@settings(
    max_examples=examples(50),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(filter_=filters, order_by=st.sampled_from([[], ["metrics.m1 DESC"], ["params.p1"]]), by_id=st.booleans())
async def test_random_expressions_find_the_runs_that_python_finds(
    database: Database, monkeypatch: pytest.MonkeyPatch, filter_: Filter, order_by: list[str], by_id: bool
) -> None:
    await write_runs(database)
    # Series of runs by id, or of whole experiments.
    monkeypatch.setattr(metric_columns, "MANY_RUNS", 1_000 if by_id else 1)
    found, _ = await RunSearch(ReadPool(database, max_reads=2)).search(
        ANYONE, RunSearchQuery(experiment_ids=[0], filter=filter_.text, order_by=order_by)
    )
    expected = [run["id"] for run in ALL if filter_.test(run)]
    ids = [run_id.hex for run_id in found]
    assert sorted(ids) == sorted(expected), filter_.text
    if not order_by:
        assert ids == expected[::-1]  # newest first


async def test_a_run_without_the_metric_matches_the_negation_of_a_comparison_and_not_its_opposite(
    database: Database,
) -> None:
    await write_runs(database)
    run_search = RunSearch(ReadPool(database, max_reads=1))

    async def found(filter_: str) -> set[str]:
        ids, _ = await run_search.search(ANYONE, RunSearchQuery(experiment_ids=[0], filter=filter_))
        return {run_id.hex for run_id in ids}

    without = {run["id"] for run in ALL if "m1" not in run["metrics"]}
    assert without
    assert without <= await found("NOT metrics.m1 > 0")
    assert not without & await found("metrics.m1 <= 0")
    assert await found("NOT metrics.m1 > 0") | await found("metrics.m1 > 0") == {run["id"] for run in ALL}


async def test_experiments_and_models_are_searched_with_the_same_logic(database: Database) -> None:
    experiments = ExperimentSearch(database)
    for number, name in enumerate(["one", "two", "three"], 1):
        await database.execute(
            "INSERT INTO experiments (experiment_id, workspace_id, name) VALUES ($1, $2, $3)",
            number,
            ANYONE.workspace_id,
            name,
        )
        await database.execute("INSERT INTO experiment_tags VALUES ($1, 'team', $2)", number, name[0])
        await database.execute(
            "INSERT INTO registered_models (workspace_id, name) VALUES ($1, $2)", ANYONE.workspace_id, name
        )
    await database.execute(
        "INSERT INTO registered_model_tags SELECT registered_model_id, $1, 'true' FROM registered_models "
        "WHERE name = 'two'",
        IS_PROMPT,
    )

    async def names(filter_: str) -> set[str]:
        page, _ = await experiments.search(
            ANYONE, filter_=filter_, order_by=(), lifecycles=("active",), max_results=10, page_token=""
        )
        return {one.name for one in page}

    async def models(filter_: str) -> set[str]:
        rows, _ = await search(database, ANYONE, MODELS, RegistryQuery(filter=filter_, max_results=10))
        return {row["name"] for row in rows}

    assert await names("name = 'one' OR tags.team = 't'") == {"one", "two", "three"}
    assert await names("NOT (name = 'one' OR tags.team = 't')") == {"Default"}
    assert await names("NOT tags.team = 'o' AND name != 'Default'") == {"two", "three"}
    assert await models("NOT name = 'one'") == {"three"}
    prompt = f"tags.`{IS_PROMPT}` = 'true'"
    assert await models(prompt) == {"two"}
    assert await models(f"{prompt} OR name = 'one'") == {"one", "two"}
    assert await models(f"NOT {prompt}") == {"one", "three"}


async def test_runs_are_searched_over_grpc_with_params_and_tags_page_by_page(database: Database) -> None:
    await write_runs(database)
    async with serve_on(database) as services:
        found, pages = await all_pages(services, filter="NOT metrics.m1 > 0 OR params.p1 = 'x'", page_size=20)
        expected = [run for run in ALL if not run["metrics"].get("m1", 0) > 0 or run["params"].get("p1") == "x"]
        assert [run.run_id for run in found] == [run["id"] for run in expected[::-1]]
        assert [dict(run.params) for run in found] == [run["params"] for run in expected[::-1]]
        assert [dict(run.tags) for run in found] == [run["tags"] for run in expected[::-1]]
        assert pages == -(-len(expected) // 20)
        elsewhere = run_pb2.SearchRunsRequest(experiment_ids=[77])
        assert not (await services.runs.SearchRuns(elsewhere)).runs
        deleted = run_pb2.SearchRunsRequest(deleted=True)
        assert not (await services.runs.SearchRuns(deleted)).runs


async def test_a_page_of_large_runs_is_shorter_and_nothing_is_left_out(database: Database) -> None:
    await write_runs(database)
    await database.execute("INSERT INTO params SELECT run_id, 'long', repeat('x', 6000) FROM runs")
    await database.execute(
        "INSERT INTO params SELECT run_id, 'long ' || n, repeat('x', 6000) FROM runs, generate_series(1, 20) n"
    )
    async with serve_on(database) as services:
        found, pages = await all_pages(services)
    assert [run.run_id for run in found] == [run["id"] for run in ALL[::-1]]
    assert 3 < pages < 10


async def all_pages(services: Services, **asked: Any) -> tuple[list[run_pb2.Run], int]:
    request = run_pb2.SearchRunsRequest(**asked)
    found: list[run_pb2.Run] = []
    for number in range(1, 100):
        page = await services.runs.SearchRuns(request)
        found += page.runs
        if not page.next_page_token:
            return found, number
        request.page_token = page.next_page_token
    raise AssertionError("pages without end")
