"""What the service has of a training."""

from __future__ import annotations

import runstream


def points_of(client: runstream.Client, run_id: str | None, *, rank: int = 0) -> dict[str, list[tuple[int, float]]]:
    """Key -> (step, value) of each point of one rank, all attempts."""
    assert run_id is not None
    found: dict[str, list[tuple[int, float]]] = {}
    for piece in client.stream_history(run_id, None, rank=rank):
        found.setdefault(piece.key, []).extend(zip(piece.steps, piece.values, strict=True))
    return found


def the_run(client: runstream.Client, experiment: str, name: str | None = None) -> runstream.RunInfo:
    """The only run of the experiment, or of that name in it."""
    (run,) = [run for run in client.list_runs(experiment) if name in (None, run.name)]
    return client.get_run(run.run_id)
