"""Searches of runs and of experiments: messages and handlers."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from runstream_service.concurrency import threads
from runstream_service.http.callers import caller_of
from runstream_service.http.json_responses import json_response
from runstream_service.http.mlflow_errors import invalid
from runstream_service.mlflow.experiments import rendered as rendered_experiment
from runstream_service.mlflow.request import Int64, Message, read, wrong_type
from runstream_service.mlflow.responses import without_unset
from runstream_service.query.run_search.run_search import RunSearchQuery

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_service.core.caller import Caller
    from runstream_service.core.experiment_search import ExperimentSearch
    from runstream_service.mlflow.experiment_ids import ExperimentIds
    from runstream_service.mlflow.run_answers import RunAnswers
    from runstream_service.query.run_search.run_search import RunSearch

Answer = dict[str, Any]

MAX_RESULTS = 50_000
_LIFECYCLES = {
    "ACTIVE_ONLY": ("active",),
    "DELETED_ONLY": ("deleted",),
    "ALL": ("active", "deleted"),
    # The same as MLflow's numbers.
    "1": ("active",),
    "2": ("deleted",),
    "3": ("active", "deleted"),
}


class SearchRuns(Message):
    """runs/search."""

    experiment_ids: tuple[str, ...] = ()
    filter: str = ""
    run_view_type: str | int = "ACTIVE_ONLY"
    max_results: Int64 = 1_000
    order_by: tuple[str, ...] = ()
    page_token: str = ""


class SearchExperiments(Message):
    """experiments/search."""

    max_results: Int64 = 0
    page_token: str = ""
    filter: str = ""
    order_by: tuple[str, ...] = ()
    view_type: str | int = "ACTIVE_ONLY"


class SearchHandlers:
    """One method per route of routes.py."""

    def __init__(self, runs: RunSearch, ids: ExperimentIds, answers: RunAnswers, experiments: ExperimentSearch) -> None:
        self._runs = runs
        self._ids = ids
        self._answers = answers
        self._experiments = experiments

    async def runs(self, request: Request) -> Response:
        caller, message = caller_of(request), await read(request, SearchRuns)
        query = RunSearchQuery(
            experiment_ids=await self._ids.parse_each(caller, message.experiment_ids),
            filter=message.filter,
            order_by=message.order_by,
            lifecycles=_lifecycles("run_view_type", message.run_view_type),
            max_results=_checked_max_results(message.max_results),
            page_token=message.page_token,
        )
        run_ids, token = await self._runs.search(caller, query)
        runs = await self._answers.encode_many(caller, run_ids)
        accepted = request.headers.get("accept-encoding", "")
        # Compressing a page of thousands of runs takes long.
        return await threads.READS.run(
            json_response, without_unset(runs=runs, next_page_token=token or None), accept_encoding=accepted
        )

    async def experiments(self, caller: Caller, message: SearchExperiments) -> Answer:
        found, token = await self._experiments.search(
            caller,
            filter_=message.filter,
            order_by=message.order_by,
            lifecycles=_lifecycles("view_type", message.view_type),
            max_results=_checked_max_results(message.max_results),
            page_token=message.page_token,
        )
        experiments = await threads.call_each(functools.partial(rendered_experiment, caller), found)
        return without_unset(experiments=experiments, next_page_token=token or None)


def _lifecycles(name: str, given: str | int) -> tuple[str, ...]:
    found = _LIFECYCLES.get(str(given))
    if found is None:
        raise wrong_type(name, given)
    return found


def _checked_max_results(given: int) -> int:
    if given < 1:
        raise invalid(f"Invalid value {given} for parameter 'max_results' supplied. It must be a positive integer")
    if given > MAX_RESULTS:
        raise invalid(f"Invalid value {given} for parameter 'max_results' supplied. It must be at most {MAX_RESULTS}")
    return given
