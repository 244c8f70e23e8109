"""Runs in the form of the page's API."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runstream_service.database.times import to_unix_us
from runstream_service.query.mlflow_view.primary_series import primary_points
from runstream_service.web.numbers import number

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from runstream_service.core.run_rows import Run
    from runstream_service.query.latest import LatestPoints

Answer = dict[str, Any]
# By run id and key: what the table of runs shows of a metric.
MetricsByRun = dict[str, dict[str, Answer]]

# How many metrics a run has in a table that does not say which ones it shows.
MAX_METRICS = 100


def rendered_runs(
    runs: Sequence[Run], portions: Sequence[LatestPoints], commits: Mapping[UUID, datetime], most: int
) -> list[Answer]:
    """Runs with at most `most` metrics each."""
    metrics = metrics_of(portions, most)
    newest = newest_points(portions)
    return [
        rendered_run(run, metrics.get(run.run_id.hex, {}), newest.get(run.run_id.hex), commits.get(run.run_id))
        for run in runs
    ]


def rendered_run(
    run: Run, metrics: dict[str, Answer] | None, newest_us: int | None, committed_at: datetime | None
) -> Answer:
    """A run in the form of the page's API, without the field `metrics` if that is None.

    `newest_us` is the time of its newest point (microseconds since 1970), `committed_at` that of its last commit."""
    times = [newest_us, None if committed_at is None else to_unix_us(committed_at)]
    answer = {
        "run_id": run.run_id.hex,
        "name": run.name,
        "experiment_id": str(run.experiment_id),
        "experiment": run.experiment,
        "status": run.status,
        "lifecycle": run.lifecycle,
        "user": run.user,
        "start_time_us": to_unix_us(run.started_at),
        "end_time_us": to_unix_us(run.ended_at) if run.ended_at else None,
        "last_point_us": max((one for one in times if one is not None), default=None),
        "params": run.params,
        "tags": run.tags,
    }
    return answer if metrics is None else {**answer, "metrics": metrics}


def metrics_of(portions: Sequence[LatestPoints], most: int) -> MetricsByRun:
    """The latest and the best values of at most `most` metrics of each run, from the series that stands for a metric
    where ranks and attempts are not shown."""
    found: MetricsByRun = {}
    for points in map(primary_points, portions):
        for run, key, value, time_us, step, best in zip(
            points.run_index.tolist(),
            points.key_index.tolist(),
            points.value.tolist(),
            points.time_unix_us.tolist(),
            points.step.tolist(),
            _best(points),
            strict=True,
        ):
            of_run = found.setdefault(points.run_ids[run], {})
            if len(of_run) < most:
                of_run[points.keys[key]] = {"latest": number(value), "step": step, "time_us": time_us, **best}
    return found


def _best(points: LatestPoints) -> Iterator[Answer]:
    """The lowest and the highest finite value in each row, and the first step of each; null where there is none."""
    best = points.best
    assert best is not None, "Latest.read reads best values"
    columns = [column.tolist() for column in (best.min_value, best.min_step, best.max_value, best.max_step)]
    for low, low_step, high, high_step in zip(*columns, strict=True):
        if math.isnan(low):
            yield {"min": None, "min_step": None, "max": None, "max_step": None}
        else:
            yield {"min": low, "min_step": low_step, "max": high, "max_step": high_step}


def newest_points(portions: Sequence[LatestPoints]) -> dict[str, int]:
    """The time of the newest point of each run, in microseconds since 1970, by run id."""
    found: dict[str, int] = {}
    for points in portions:
        for run, time_us in zip(points.run_index.tolist(), points.time_unix_us.tolist(), strict=True):
            run_id = points.run_ids[run]
            found[run_id] = max(found.get(run_id, time_us), time_us)
    return found


def rendered_series(points: LatestPoints) -> list[Answer]:
    """Every series of a run, in the order (key, rank, attempt)."""
    return [
        {
            "key": points.keys[key],
            "rank": rank,
            "attempt": attempt,
            "latest": number(value),
            "step": step,
            "time_us": time_us,
            **best,
        }
        for key, rank, attempt, value, step, time_us, best in zip(
            points.key_index.tolist(),
            points.rank.tolist(),
            points.attempt.tolist(),
            points.value.tolist(),
            points.step.tolist(),
            points.time_unix_us.tolist(),
            _best(points),
            strict=True,
        )
    ]
