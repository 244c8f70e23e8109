"""What the service has of a training."""

from __future__ import annotations

import runstream
from tests.support.polling import until_now


def points_of(client: runstream.Client, run_id: str | None, *, rank: int = 0) -> dict[str, list[tuple[int, float]]]:
    """Key -> (step, value) of each point of one rank, all attempts."""
    assert run_id is not None
    found: dict[str, list[tuple[int, float]]] = {}
    for piece in client.stream_history(run_id, None, rank=rank):
        found.setdefault(piece.key, []).extend(zip(piece.steps, piece.values, strict=True))
    return found


def run_ids(client: runstream.Client, experiment: str) -> set[str]:
    """Of its runs; none if there is no such experiment."""
    try:
        return {run.run_id for run in client.list_runs(experiment)}
    except runstream.NotFound:
        return set()


def ended_runs(client: runstream.Client, experiment: str, count: int) -> list[runstream.RunInfo]:
    """The runs of an experiment, when there are so many and all have ended."""
    runs: list[runstream.RunInfo] = []

    def all_ended() -> bool:
        runs[:] = map(client.get_run, run_ids(client, experiment))
        return len(runs) == count and "RUNNING" not in {run.status for run in runs}

    until_now(all_ended)
    return runs


def the_run(client: runstream.Client, experiment: str, name: str | None = None) -> runstream.RunInfo:
    """The only run of the experiment, or of that name in it."""
    (run,) = [run for run in client.list_runs(experiment) if name in (None, run.name)]
    return client.get_run(run.run_id)
