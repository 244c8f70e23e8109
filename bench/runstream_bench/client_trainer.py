"""One training process of `runstream bench --client`, which prints one JSON object:

python -m runstream_bench.client_trainer log|steps|threads|modules|first_run|write ARGUMENTS...

The environment says where journals are and where the service is. What the benchmark needs itself is imported where it
is used, for `modules` says what runstream brings into a training process.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

KEYS = 20
_POINTS_BETWEEN_FLUSHES = 50_000
_LOG_ROUNDS = 5
_PAUSE_S = 0.6  # longer than the recorder and the agent need for what was logged last
_STEP_S = 0.005
_PATIENCE_S = 30.0
_UNWANTED = ("grpc", "google.protobuf", "numpy", "pandas", "torch", "mlflow")


def log(calls: int, slow_sync_s: float) -> dict[str, Any]:
    """Microseconds of log() with one metric, the clock's own cost (some 0.05) included. `slow_sync_s`: each sync of a
    journal takes so much longer."""
    import statistics

    import runstream

    if slow_sync_s:
        _slow_down_syncs(slow_sync_s)
    clock = time.perf_counter_ns
    spent: list[int] = []
    with runstream.start_run("bench", "log") as run:
        run.log({"loss": 0.0}, step=0)
        _wait_for(lambda: bool(run.stats().journal_path))
        for _ in range(_LOG_ROUNDS):
            time.sleep(_PAUSE_S)
            first = len(spent) + 1
            for step in range(first, first + calls // _LOG_ROUNDS):
                value = 1.0 / step
                begun = clock()
                run.log({"loss": value}, step=step)
                spent.append(clock() - begun)
        lost = _lost(run)
    spent.sort()
    return {
        "median": statistics.median(spent) / 1_000,
        "p999": spent[min(len(spent) - 1, int(len(spent) * 0.999))] / 1_000,
        "lost": lost,
    }


def steps(pairs: int, block: int) -> dict[str, Any]:
    """How much longer a training step takes that logs 20 metrics, in percent: blocks of steps with and without, by
    turns, with a pause in which everything that was logged is on its way.

    On a machine whose speed changes by tenths from second to second, that comparison cannot show a percent. `cost` can:
    what the calls of log() took, and all that other threads of the process computed meanwhile, as if the training had
    waited for them."""
    import statistics

    import runstream

    compute = _step_of(_STEP_S)
    metrics = {f"train/metric_{key}": key / 7 for key in range(KEYS)}
    medians, sums, plain_s, costs_s = [], [], [], []
    with runstream.start_run("bench", "steps") as run:
        run.log(metrics, step=0)
        _wait_for(lambda: bool(run.stats().journal_path))
        for pair in range(pairs):
            spent, others_s = {}, {}
            logging_s: list[float] = []
            for logs in (False, True) if pair % 2 else (True, False):
                do = _timed(lambda step: run.log(metrics, step=step), logging_s) if logs else None
                begun_s = _other_threads_s()
                spent[logs] = _block(compute, do, 1 + pair * block, block)
                time.sleep(_PAUSE_S)
                others_s[logs] = _other_threads_s() - begun_s
            costs_s.append((sum(logging_s) + others_s[True] - others_s[False]) / block)
            medians.append(statistics.median(spent[True]) / statistics.median(spent[False]))
            sums.append(sum(spent[True]) / sum(spent[False]))
            plain_s.append(statistics.median(spent[False]))
        lost = _lost(run)
    return {
        "median": 100 * (statistics.median(medians) - 1),
        "mean": 100 * (statistics.median(sums) - 1),
        "cost": 100 * statistics.median(costs_s) / statistics.median(plain_s),
        "step_ms": 1_000 * statistics.median(plain_s),
        "lost": lost,
    }


def threads() -> dict[str, Any]:
    """How many additional threads this process has with one run, and with twenty."""
    import psutil

    import runstream

    process = psutil.Process()
    before = process.num_threads()
    more = {}
    runs: list[runstream.Run] = []
    for count in (1, 20):
        while len(runs) < count:
            runs.append(runstream.start_run("bench", f"threads-{len(runs)}"))
            runs[-1].log({"loss": 1.0}, step=0)
        for run in runs:
            run.flush(_PATIENCE_S)
        more[str(count)] = process.num_threads() - before
    return more


def modules() -> dict[str, Any]:
    """What a process with a run should not have, and has; and how many sockets it has more."""
    before = _sockets()
    import runstream

    with runstream.start_run("bench", "modules") as run:
        run.log({"loss": 1.0}, step=0)
        run.flush(_PATIENCE_S)
        found = [name for name in _UNWANTED if name in sys.modules]
        return {"modules": found, "sockets": _sockets() - before}


def first_run() -> dict[str, Any]:
    """How long the first start_run() of a process takes, where an agent has to be started."""
    import runstream

    begun = time.perf_counter()
    run = runstream.start_run("bench", "first")
    spent_ms = 1_000 * (time.perf_counter() - begun)
    run.finish()
    return {"ms": spent_ms}


def write(run_id: str, journals: int, points: int) -> dict[str, Any]:
    """Journals of that many points each, of the ranks of one run, for an agent that starts later."""
    import runstream

    handles = [runstream.start_run("bench", run_id=run_id, rank=rank) for rank in range(journals)]
    keys = [f"train/metric_{key}" for key in range(KEYS)]
    logged = 0
    for step in range(points // KEYS):
        metrics = dict.fromkeys(keys, step / 7)
        for handle in handles:
            handle.log(metrics, step=step)
        logged += KEYS * journals
        if logged >= _POINTS_BETWEEN_FLUSHES:
            logged = 0
            _wait_for(lambda: all(handle.stats().waiting == 0 for handle in handles))
    for handle in handles:
        handle.finish(timeout=_PATIENCE_S)
    stats = [handle.stats() for handle in handles]
    kept = sum(one.logged - one.waiting - sum(one.refused.values()) for one in stats)
    return {"points": kept}


def _slow_down_syncs(seconds: float) -> None:
    """Sleeps, so that another thread can run, as during a real sync."""
    from runstream.journal.files import OsFiles

    sync = OsFiles.sync

    def slow_sync(self: OsFiles, fd: int) -> None:
        time.sleep(seconds)
        sync(self, fd)

    OsFiles.sync = slow_sync  # type: ignore[method-assign]


def _step_of(seconds: float) -> Callable[[], object]:
    """A computation that takes about this long."""
    import numpy as np

    a = np.random.default_rng(1).random((128, 128))

    def once() -> None:
        np.tanh(a @ a)

    _block(once, None, 0, 200)
    cost = sorted(_block(once, None, 0, 200))[100]
    repeats = max(1, round(seconds / cost))

    def compute() -> None:
        for _ in range(repeats):
            once()

    return compute


def _block(compute: Callable[[], object], log: Callable[[int], None] | None, first: int, count: int) -> list[float]:
    """The seconds of each step."""
    clock = time.perf_counter
    spent = []
    for step in range(first, first + count):
        begun = clock()
        compute()
        if log is not None:
            log(step)
        spent.append(clock() - begun)
    return spent


def _timed(log: Callable[[int], None], spent: list[float]) -> Callable[[int], None]:
    """Records the duration of each call, in seconds."""
    clock = time.perf_counter

    def timed(step: int) -> None:
        begun = clock()
        log(step)
        spent.append(clock() - begun)

    return timed


def _other_threads_s() -> float:
    """The CPU time of all threads of this process but this one."""
    return time.process_time() - time.thread_time()


def _sockets() -> int:
    """The number of sockets of this process, where /proc has it."""
    count = 0
    for fd in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        with contextlib.suppress(OSError):  # that of listdir
            count += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
    return count


def _lost(run: Any) -> int:
    """Ends the run; how many of its points the service has not acknowledged, or where it is known to be away, are not
    in the journal."""
    _wait_for(lambda: run.stats().waiting == 0)
    is_away = os.environ.get("BENCH_SERVICE") == "away"
    run.finish(timeout=0.0 if is_away else _PATIENCE_S)
    stats = run.stats()
    return int(stats.logged - (stats.on_disk if is_away else stats.acknowledged))


def _wait_for(done: Callable[[], bool]) -> None:
    give_up = time.monotonic() + _PATIENCE_S
    while not done():
        if time.monotonic() > give_up:
            raise TimeoutError(f"the journal was not written within {_PATIENCE_S:.0f} s")
        time.sleep(0.01)


def main(what: str, *arguments: str) -> None:
    """Runs one of the measurements."""
    result: dict[str, Any]
    if what == "log":
        result = log(int(arguments[0]), float(arguments[1]))
    elif what == "steps":
        result = steps(int(arguments[0]), int(arguments[1]))
    elif what == "write":
        result = write(arguments[0], int(arguments[1]), int(arguments[2]))
    else:
        result = {"threads": threads, "modules": modules, "first_run": first_run}[what]()
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
