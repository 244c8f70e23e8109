"""Runs: the table, the overview of one, and the keys for completion."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from runstream_service.concurrency import threads
from runstream_service.core.names import parse_run_id
from runstream_service.errors.core import InvalidField, RunNotFound
from runstream_service.query.reading.read_transaction import all_ended
from runstream_service.query.reading.series import check_keys
from runstream_service.query.run_search.run_search import RunSearchQuery
from runstream_service.web.request import Message
from runstream_service.web.run_answers import (
    MAX_METRICS,
    newest_points,
    rendered_run,
    rendered_runs,
    rendered_series,
)
from runstream_service.web.shared_answers import SharedAnswers

if TYPE_CHECKING:
    from uuid import UUID

    from runstream_service.core.caller import Caller
    from runstream_service.query.latest import LatestPoints
    from runstream_service.server.wiring import Core, Queries

Answer = dict[str, Any]

ExperimentId = Annotated[str, Meta(pattern="^[0-9]{1,18}$")]

_LIFECYCLES = {"active": ("active",), "deleted": ("deleted",), "all": ("active", "deleted")}
# The most series in the overview of a run: enough for 20 metrics of 1,000 ranks.
_MAX_SERIES = 20_000
# How many overviews one request reads at a time, so that it leaves connections to others.
_OVERVIEWS_AT_ONCE = 4


class SearchRuns(Message):
    """POST runs/search. Without experiments: those of all. Without metrics (null): the first MAX_METRICS of each
    run."""

    experiment_ids: Annotated[tuple[ExperimentId, ...], Meta(max_length=10_000)] = ()
    filter: Annotated[str, Meta(max_length=100_000)] = ""
    order_by: Annotated[tuple[str, ...], Meta(max_length=100)] = ()
    lifecycle: Literal["active", "deleted", "all"] = "active"
    page_size: Annotated[int, Meta(ge=1, le=1_000)] = 200
    page_token: str = ""
    metrics: Annotated[tuple[str, ...], Meta(max_length=1_000)] | None = None
    max_age_s: Annotated[float, Meta(ge=0, le=60)] = 0
    known_state: Annotated[str, Meta(max_length=64)] = ""


class OneRun(Message):
    """GET runs/{run_id}."""

    run_id: str = ""


class SomeOverviews(Message):
    """POST runs/overviews."""

    run_ids: Annotated[tuple[str, ...], Meta(min_length=1, max_length=50)]


class KeysOf(Message):
    """GET keys. Without an experiment: those of all."""

    experiment_id: ExperimentId | None = None


class RunHandlers:
    """One method per route of routes.py."""

    def __init__(self, core: Core, queries: Queries) -> None:
        self._core = core
        self._queries = queries
        self._searches = SharedAnswers()

    async def search(self, caller: Caller, message: SearchRuns) -> Answer:
        question = msgspec.structs.replace(message, max_age_s=0, known_state="")
        key = (caller.workspace_id, msgspec.json.encode(question))
        found = await self._searches.get(key, message.max_age_s, lambda: self._search(caller, question))
        if found.state == message.known_state:
            return {"state": found.state, "is_known": True}
        return {**found.answer, "state": found.state}

    async def _search(self, caller: Caller, message: SearchRuns) -> Answer:
        check_keys(message.metrics or (), field="metrics")
        query = RunSearchQuery(
            experiment_ids=[int(one) for one in message.experiment_ids]
            or await self._core.experiment_activity.all_ids(caller),
            filter=message.filter,
            order_by=message.order_by,
            lifecycles=_LIFECYCLES[message.lifecycle],
            max_results=message.page_size,
            page_token=message.page_token,
        )
        run_ids, token = await self._core.run_search.search(caller, query)
        keys: Sequence[str] | None = message.metrics
        if keys is None:
            keys = await self._queries.keys_in_use.metrics_of_runs(caller, run_ids, MAX_METRICS)
        runs, points, commits = await asyncio.gather(
            self._core.runs.get_many(caller, run_ids),
            self._points(caller, run_ids, keys),
            self._core.runs.last_commits(caller, run_ids),
        )
        most = MAX_METRICS if message.metrics is None else len(message.metrics)
        return {
            "runs": await threads.READS.run(rendered_runs, runs, points, commits, most),
            "next_page_token": token,
        }

    async def _points(self, caller: Caller, run_ids: Sequence[UUID], keys: Sequence[str]) -> list[LatestPoints]:
        """The latest points of some runs, in portions if they have too many series to be read at once. A single run
        that has too many is left out, so that the table can show the others."""
        if not run_ids or not keys:
            return []
        try:
            return [await self._queries.latest.read(caller, [run_id.hex for run_id in run_ids], keys)]
        except InvalidField as error:
            if error.field != "run_ids":
                raise
            half = len(run_ids) // 2
            if not half:
                return []
            return [part for ids in (run_ids[:half], run_ids[half:]) for part in await self._points(caller, ids, keys)]

    async def get(self, caller: Caller, message: OneRun) -> Answer:
        run_id = parse_run_id(message.run_id, field="run_id")
        run, commits = await asyncio.gather(
            self._core.runs.get(caller, run_id.hex), self._core.runs.last_commits(caller, [run_id])
        )
        overview = self._queries.run_overview
        points = await overview.series(caller, run_id)
        attempts = await overview.attempts(caller, run_id, points)
        rate = await overview.points_per_s(caller, points) if run.status == "running" else None
        return {
            "run": rendered_run(run, None, newest_points([points]).get(run_id.hex), commits.get(run_id)),
            "series": await threads.READS.run(rendered_series, points.take(slice(_MAX_SERIES))),
            "series_count": len(points),
            "attempts": [
                {"attempt": one.attempt, "first_step": one.first_step, "first_time_us": one.first_time_us}
                for one in attempts
            ],
            "ranks": sorted(set(points.rank.tolist())),
            "points_per_s": rate,
        }

    async def overviews(self, caller: Caller, message: SomeOverviews) -> Answer:
        slots = asyncio.Semaphore(_OVERVIEWS_AT_ONCE)

        async def one(run_id: str) -> Answer | None:
            async with slots:
                try:
                    return await self.get(caller, OneRun(run_id=run_id))
                except RunNotFound:
                    return None

        run_ids = list(dict.fromkeys(message.run_ids))
        found = await all_ended([one(parse_run_id(run_id, field="run_ids").hex) for run_id in run_ids])
        return {
            "overviews": [answer for answer in found if answer is not None],
            "missing": [run_id for run_id, answer in zip(run_ids, found, strict=True) if answer is None],
        }

    async def keys(self, caller: Caller, message: KeysOf) -> Answer:
        experiment_id = None if message.experiment_id is None else int(message.experiment_id)
        found = await self._queries.keys_in_use.of_recent_runs(caller, experiment_id)
        return {"metrics": found.metrics, "params": found.params, "tags": found.tags}
