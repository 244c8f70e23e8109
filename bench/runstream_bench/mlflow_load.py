"""The callers of a load on MLflow's routes, in a process of their own: `python -m ...mlflow_load`, a Load on stdin."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import uvloop

from runstream_bench.raw_http import Connection, Failed

API = "/api/2.0/mlflow/"
_BEGUN_MS = 1_790_000_000_000


@dataclass(frozen=True, slots=True)
class Load:
    """`callers` connections; caller i logs to run_ids[i]. Each sends request after request, `metrics` points in one (0:
    one point, through log-metric), until `seconds` are over or it has sent `requests`, whose bodies are made before."""

    url: str
    run_ids: list[str]
    metrics: int
    requests: int
    seconds: float
    keys: int = 10


@dataclass(slots=True)
class Outcome:
    """The result of a load. Points are those of requests that were answered with 200."""

    seconds: float = 0.0
    points: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def points_per_s(self) -> float:
        """From the first request to the last answer."""
        return self.points / self.seconds


async def run(load: Load, *, failures: bool = False) -> Outcome:
    """The load in a process of its own. Raises RuntimeError for a request that failed, unless `failures` may be."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "runstream_bench.mlflow_load",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate(json.dumps(asdict(load)).encode())
    if process.returncode:
        raise RuntimeError(f"the callers ended with {process.returncode}")
    outcome = Outcome(**json.loads(output))
    if outcome.errors and not failures:
        raise RuntimeError(f"{len(outcome.errors)} requests failed, the first with {outcome.errors[0]}")
    return outcome


async def _work(load: Load) -> Outcome:
    connections = [await Connection.open(load.url) for _ in load.run_ids]
    requests = [_requests(connection, load, number) for number, connection in enumerate(connections)]
    outcome = Outcome()
    begun = time.perf_counter()
    give_up = begun + load.seconds
    await asyncio.gather(
        *(
            _call(connection, mine, load, give_up, outcome)
            for connection, mine in zip(connections, requests, strict=True)
        )
    )
    outcome.seconds = time.perf_counter() - begun
    for connection in connections:
        connection.close()
    return outcome


def _requests(connection: Connection, load: Load, caller: int) -> list[bytes]:
    """All requests of one caller, as bytes. No two points are the same, so nothing can be left out as a repetition."""
    chance = random.Random(caller)
    run_id = load.run_ids[caller]
    count = max(1, load.metrics)
    # Callers may share a run; their steps do not meet.
    first = caller * load.requests * count
    requests = []
    for number in range(load.requests):
        points = [_point(chance, first + number * count + index, load.keys) for index in range(count)]
        if load.metrics:
            body: dict[str, Any] = {"run_id": run_id, "metrics": points}
            requests.append(connection.post(API + "runs/log-batch", json.dumps(body).encode()))
        else:
            body = {"run_uuid": run_id, **points[0], "run_id": run_id}
            requests.append(connection.post(API + "runs/log-metric", json.dumps(body).encode()))
    return requests


def _point(chance: random.Random, number: int, keys: int) -> dict[str, Any]:
    step, key = divmod(number, keys)
    return {"key": f"train/metric_{key}", "value": chance.random(), "timestamp": _BEGUN_MS + 20 * step, "step": step}


async def _call(connection: Connection, requests: list[bytes], load: Load, give_up: float, outcome: Outcome) -> None:
    for request in requests:
        begun = time.perf_counter()
        if begun > give_up:
            return
        try:
            await connection.ask(request)
        except Failed as error:
            outcome.errors.append(str(error))
            continue
        outcome.latencies_ms.append(1000 * (time.perf_counter() - begun))
        outcome.points += max(1, load.metrics)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(uvloop.run(_work(Load(**json.load(sys.stdin)))))))
