"""Events of runs: every page gets every point once, whatever happens in between."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import operator
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import runstream
from runstream_bench.event_reader import EventReader, PageEvent
from tests.support.databases import short_directory
from tests.support.polling import until_now
from tests.support.rest import Rest
from tests.support.serve import ServeProcess
from tests.web.support import Web

WITHIN_S = 30


class Page:
    """A page that follows runs, and counts what it gets."""

    def __init__(self, url: str, **query: Any) -> None:
        self.reader = EventReader(url, query)
        self.kinds: list[str] = []
        self.counts: dict[str, int] = {}
        self.runs: list[dict[str, Any]] = []
        self._seen: list[PageEvent] = []
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def open(self, *, last_id: str | None = None) -> None:
        assert await self.reader.open(last_id=last_id) == 200, self.reader.head
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for event in self.reader.events():
            self.kinds.append(event.kind)
            if event.kind == "points":
                for one in event.data["series"]:
                    self.counts[one["key"]] = self.counts.get(one["key"], 0) + one["count"]
                self._seen.append(event)
            if event.kind == "run":
                self.runs.append(event.data)
            self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def has(self, count: int, key: str = "loss") -> None:
        """Waits until it has got so many points of a series, and no more."""
        await self.until(lambda: self.counts.get(key) == count)

    @property
    def series(self) -> list[dict[str, Any]]:
        return [one for event in self._seen for one in event.data["series"]]

    async def close(self) -> str | None:
        await self.reader.close()
        assert self._task is not None
        await self._task
        return self.reader.last_id

    async def ended(self) -> None:
        assert self._task is not None
        await asyncio.wait_for(self._task, WITHIN_S)


@pytest.fixture
def run(web: Web) -> Iterator[runstream.Run]:
    """A run to which points are logged."""
    with runstream.start_run(address=web.service.grpc_address) as started:
        assert started.flush(WITHIN_S)
        yield started


@contextlib.asynccontextmanager
async def opened(web: Web, count: int = 1, **query: Any) -> AsyncIterator[list[Page]]:
    pages = [Page(web.service.http_url, **query) for _ in range(count)]
    await asyncio.gather(*(page.open() for page in pages))
    try:
        yield pages
    finally:
        for page in pages:
            await page.close()


def is_one(serve: ServeProcess, metric: str) -> bool:
    return serve.metric(metric) == 1


async def log(run: runstream.Run, steps: range, **values: float) -> None:
    for step in steps:
        run.log(values or {"loss": float(step)}, step=step)
    assert await asyncio.to_thread(run.flush, WITHIN_S)


async def test_a_page_gets_what_the_run_is_and_then_each_new_point_once(web: Web, run: runstream.Run) -> None:
    await log(run, range(5))
    async with opened(web, run=run.run_id) as (page,):
        await page.until(lambda: page.kinds == ["run"])
        assert page.runs[0]["run_id"] == run.run_id
        assert "metrics" not in page.runs[0]
        await log(run, range(5, 105))
        await page.has(100)
        first, last = page.series[0], page.series[-1]
        assert (first["first_step"], first["first"], last["last_step"], last["last"]) == (5, 5.0, 104, 104.0)
        assert sum(one["mean"] * one["count"] for one in page.series) == pytest.approx(sum(range(5, 105)))
        assert (first["rank"], first["attempt"], first["non_finite"]) == (0, 0, 0)


async def test_values_that_are_not_finite_are_counted_and_named(web: Web, run: runstream.Run) -> None:
    async with opened(web, run=run.run_id) as (page,):
        await log(run, range(1), a=math.nan, b=-math.inf)
        await page.until(lambda: len(page.counts) == 2)
        found = {one["key"]: (one["non_finite"], one["min"], one["last"]) for one in page.series}
        assert found == {"a": (1, "NaN", "NaN"), "b": (1, "NaN", "-Infinity")}


async def test_two_hundred_pages_of_one_run_get_each_point_once_from_one_tail(web: Web, run: runstream.Run) -> None:
    async with opened(web, 200, run=run.run_id) as pages:
        for part in range(4):
            await log(run, range(100 * part, 100 * part + 100))
        for page in pages:
            await page.has(400)
            assert "reset" not in page.kinds
        assert web.service.metric("runstream_event_streams") == 200
        # Those of the tests before end some seconds after their last page.
        for name in ("runstream_tail_streams", "runstream_event_feeds"):
            await asyncio.to_thread(until_now, functools.partial(is_one, web.service, name))


async def test_a_page_that_reconnects_goes_on_where_it_was(web: Web, run: runstream.Run) -> None:
    async with opened(web, run=run.run_id) as (other,):
        page = Page(web.service.http_url, run=run.run_id)
        await page.open()
        await log(run, range(10))
        await page.has(10)
        last_id = await page.close()
        await log(run, range(10, 30))
        await other.has(30)
        again = Page(web.service.http_url, run=run.run_id)
        await again.open(last_id=last_id)
        await log(run, range(30, 35))
        await again.has(25)
        assert set(again.kinds) == {"points", "run"}
        await again.close()


async def test_pages_follow_several_runs_and_some_only_for_their_status(web: Web, run: runstream.Run) -> None:
    with runstream.start_run(address=web.service.grpc_address) as second:
        assert await asyncio.to_thread(second.flush, WITHIN_S)
        async with opened(web, run=[run.run_id], status=[second.run_id]) as (page,):
            await page.until(lambda: len(page.runs) == 2)
            await log(second, range(3), second=1.0)
            await log(run, range(3), first=1.0)
            await page.has(3, "first")
            assert "second" not in page.counts
            await asyncio.to_thread(second.finish)
            await page.until(lambda: len(page.runs) == 3)
            assert (page.runs[2]["run_id"], page.runs[2]["status"]) == (second.run_id, "finished")


async def test_a_new_name_another_experiment_and_a_deletion_are_events(web: Web, run: runstream.Run) -> None:
    async with opened(web, run=run.run_id) as (page,):
        await asyncio.to_thread(web.rest.post, "/api/2.0/mlflow/runs/update", {"run_id": run.run_id, "run_name": "new"})
        await page.until(lambda: bool(page.runs) and page.runs[-1]["name"] == "new")
        experiment_id = web.make_experiment("moved to")
        await asyncio.to_thread(web.post, "runs/move", run_ids=[run.run_id], experiment_id=experiment_id)
        await page.until(lambda: page.runs[-1]["experiment"] == "moved to")
        await asyncio.to_thread(web.rest.post, "/api/2.0/mlflow/runs/delete", {"run_id": run.run_id})
        await page.until(lambda: page.runs[-1]["lifecycle"] == "deleted")


async def test_a_position_that_is_none_begins_again(web: Web, run: runstream.Run) -> None:
    await log(run, range(3))
    for last_id in ("-", "nonsense", "1;2@" + run.run_id[:12]):
        page = Page(web.service.http_url, run=run.run_id)
        await page.open(last_id=last_id)
        await page.until(functools.partial(operator.contains, page.kinds, "run"))
        assert page.kinds == ["reset", "run"]
        assert "@" in (await page.close() or "")


async def test_a_stream_holds_no_place_and_counts_as_no_long_request(web: Web, run: runstream.Run) -> None:
    route = {"method": "GET", "route": "/web/api/events"}
    assert web.refusal("GET", "events") == (400, "INVALID_FIELD", "run")  # this one has a duration
    measured = web.service.metric("runstream_http_request_seconds_count", **route)
    before = web.service.metric("runstream_http_requests_total", **route, status="200")
    async with opened(web, run=run.run_id) as (page,):
        assert b"x-accel-buffering: no" in page.reader.head.lower()
    until_now(lambda: web.service.metric("runstream_http_requests_total", **route, status="200") == before + 1)
    assert web.service.metric("runstream_http_request_seconds_count", **route) == measured


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, (400, "INVALID_FIELD", "run")),
        ({"run": "x"}, (400, "INVALID_FIELD", "run")),
        ({"status": "x"}, (400, "INVALID_FIELD", "status")),
        ({"run": "0" * 32}, (404, "RUN_NOT_FOUND", "run")),
        ({"run": ["0" * 32] * 51}, (400, "INVALID_FIELD", "run")),
        ({"runs": "0" * 32}, (400, "INVALID_FIELD", "runs")),
    ],
)
def test_a_wrong_field_is_named(web: Web, query: dict[str, Any], expected: tuple[int, str, str]) -> None:
    assert web.refusal("GET", "events", query) == expected


@pytest.fixture(scope="module")
def restarting() -> Iterator[ServeProcess]:
    """A service that tests restart."""
    with short_directory() as directory, ServeProcess(directory) as serve:
        yield serve


def test_a_replica_that_restarts_ends_streams_at_once_and_pages_go_on_without_a_gap(restarting: ServeProcess) -> None:
    serve, before = restarting, len(restarting.log_records)

    async def follow() -> None:
        with runstream.start_run(address=serve.grpc_address) as run:
            first, second = (Page(serve.http_url, run=run.run_id) for _ in range(2))
            assert run.flush(WITHIN_S)
            await first.open()
            await log(run, range(10))
            await first.has(10)
            early = await first.close()
            await second.open()
            await log(run, range(10, 20))
            await second.has(10)
            stopping = threading.Thread(target=serve.restart)
            stopping.start()
            await second.ended()
            late = await second.close()
            await asyncio.to_thread(stopping.join)
            await log(run, range(20, 25))
            pages = [Page(serve.http_url, run=run.run_id) for _ in range(3)]
            for page, last_id in zip(pages, (late, early, early), strict=True):
                await page.open(last_id=last_id)
            new = Page(serve.http_url, run=run.run_id)
            await new.open()
            await log(run, range(25, 30))
            for page, expected in zip([*pages, new], (10, 20, 20, 5), strict=True):
                await page.has(expected)
                assert "reset" not in page.kinds
            # Those that began at an older position have come as far as the first, which now serves all.
            await asyncio.to_thread(until_now, lambda: serve.metric("runstream_event_feeds") == 1)
            await log(run, range(30, 40))
            for page, expected in zip([*pages, new], (20, 30, 30, 15), strict=True):
                await page.has(expected)
                await page.close()

    asyncio.run(follow())
    with contextlib.closing(Rest(serve.http_url)) as rest:
        assert rest.get("experiments/get", {"experiment_id": "0"}).status == 200
    assert [record for record in serve.log_records[before:] if record["level"] == "error"] == []


def test_a_database_that_restarts_is_no_gap_and_pages_do_not_notice(restarting: ServeProcess) -> None:
    serve = restarting

    async def follow() -> None:
        with runstream.start_run(address=serve.grpc_address) as run:
            page = Page(serve.http_url, run=run.run_id)
            assert await asyncio.to_thread(run.flush, WITHIN_S)
            await page.open()
            await log(run, range(10))
            await page.has(10)
            await asyncio.to_thread(serve.kill_postgres)
            await log(run, range(10, 20))
            await page.has(20)
            assert set(page.kinds) == {"run", "points"}
            await page.close()

    asyncio.run(follow())
