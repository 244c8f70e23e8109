"""`start_run` for the training functions of Ray Train: which run its workers share, and which attempt this start is."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from runstream._framework_run import FrameworkRun, check_arguments
from runstream._identity import attempt_of, check_run_id, fresh_id

if TYPE_CHECKING:
    from runstream.run import Run

_FILE = "runstream.json"  # in the directory of Ray Train's run, next to its checkpoints
_logger = logging.getLogger("runstream")
_started: Counter[str] = Counter()  # runs that this worker has started, by experiment and name


class _Start(NamedTuple):
    """What rank 0 broadcasts to the other workers, and writes to the file for the next start."""

    run_id: str
    attempt: int
    fit: str  # identifies the call of `fit()`


def start_run(experiment: str | None = None, name: str | None = None, **start: Any) -> Run:
    """`runstream.start_run` for the training function of Ray Train: all workers share the run, each with its own rank.

    The run continues as the next attempt when Ray starts the workers again after a failure, and when a later `fit()`
    with the same name and storage continues from a checkpoint. Otherwise each `fit()` starts a run.

    Args:
        experiment: As for `runstream.start_run`.
        name: As for `runstream.start_run`; None: the name of Ray Train's run.
        start: Further arguments of `runstream.start_run`, except `rank`. With `run_id` or RUNSTREAM_RUN_ID, the workers
            share that run.

    Every worker has to call it, as each waits for the others. Raises TypeError or ValueError for a wrong argument, and
    RuntimeError outside of a training function. Needs Ray Train V2, which is Ray's default.
    """
    if "rank" in start:
        raise TypeError("rank cannot be passed here: Ray Train sets the rank of each worker")
    check_arguments({"experiment": experiment, "name": name, **start})
    from ray import train
    from ray.train.collective import broadcast_from_rank_zero

    context = train.get_context()
    rank = context.get_world_rank()
    try:
        storage = context.get_storage()
    except NotImplementedError:  # `num_workers=0`: in the driver itself, or in the processes of torchrun
        agreed = None
    else:
        agreed = broadcast_from_rank_zero(_next_start(storage, experiment, name, start) if rank == 0 else None)
    if agreed is not None:
        now = _Start(*agreed)
        start |= {"run_id": now.run_id, "attempt": now.attempt}
    of_worker = FrameworkRun(experiment=experiment, name=name, rank=rank, **start)
    of_worker.suggest(name=context.get_experiment_name())
    return of_worker.handle()


def _next_start(storage: Any, experiment: str | None, name: str | None, start: dict[str, Any]) -> _Start:
    """Run and attempt of this start, which rank 0 decides and writes to the file."""
    names = json.dumps([experiment, name])
    key = f"{names} {_started[names]}"
    _started[names] += 1
    kept = _read(storage)
    now = _decided(_Start(*kept[key]) if key in kept else None, start)
    _write(storage, {**kept, key: now})
    return now


def _decided(before: _Start | None, start: dict[str, Any]) -> _Start:
    named = start.get("run_id") or os.environ.get("RUNSTREAM_RUN_ID", "").strip()
    run_id = check_run_id(named) if named else ""
    fit, attempt = _fit_id(), attempt_of(os.environ)
    if before and (run_id == before.run_id if run_id else _continues(before, fit)):
        run_id, attempt = before.run_id, max(before.attempt + 1, attempt)
    chosen = start.get("attempt")
    return _Start(run_id or fresh_id(), attempt if chosen is None else int(chosen), fit)


def _continues(before: _Start, fit: str) -> bool:
    """Whether Ray has started the workers again, or continues with what was trained before."""
    from ray import train

    return (bool(fit) and before.fit == fit) or train.get_checkpoint() is not None


def _fit_id() -> str:
    """A text that is the same in all starts of one call of `fit()`, and in no other call; empty if this Ray has none.
    It is not part of Ray's public API, but what is public, such as the name, may be the same in the next call."""
    try:
        from ray.train.v2._internal.execution.context import get_train_context

        return str(get_train_context().train_run_context.run_id)
    except (ImportError, AttributeError):
        return ""


def _read(storage: Any) -> dict[str, Any]:
    """The content of the file from earlier starts; empty if there is none, or it cannot be read."""
    try:
        with storage.storage_filesystem.open_input_stream(f"{storage.experiment_fs_path}/{_FILE}") as file:
            kept: dict[str, Any] = json.loads(file.read())
            return kept
    except FileNotFoundError:  # the first start
        return {}
    except (OSError, ValueError, AttributeError) as error:
        _logger.warning("Ray's storage cannot be read, so this start makes a run of its own: %r", error)
        return {}


def _write(storage: Any, kept: dict[str, Any]) -> None:
    try:
        storage.storage_filesystem.create_dir(storage.experiment_fs_path, recursive=True)
        with storage.storage_filesystem.open_output_stream(f"{storage.experiment_fs_path}/{_FILE}") as file:
            file.write(json.dumps(kept).encode())
    except (OSError, AttributeError) as error:
        _logger.warning("Ray's storage cannot be written, so the next start will make a run of its own: %r", error)
