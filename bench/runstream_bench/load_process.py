"""A load in a process of its own; one process could not keep several workers busy.

python -m runstream_bench.load_process ADDRESS STREAMS BATCH_POINTS CONNECTIONS SECONDS

It says "open" when its streams are, begins when it reads a line, and prints what came of it as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

import uvloop

from runstream_bench.load import Load, push

# The metadata of its calls as JSON, with a token. Not an argument, since everybody can read those.
METADATA = "RUNSTREAM_BENCH_METADATA"


async def _run(address: str, load: Load, seconds: float) -> None:
    async def wait_for_go() -> None:
        sys.stdout.write("open\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)

    outcome = await push(address, load, seconds, wait_for_go, json.loads(os.environ.get(METADATA, "[]")))
    values = {
        "points": outcome.points_acknowledged,
        "refused": outcome.points_refused,
        "seconds": outcome.seconds,
    }
    sys.stdout.write(json.dumps(values) + "\n")


if __name__ == "__main__":
    _, of_service, streams, batch_points, connections, length = sys.argv
    its_load = Load(streams=int(streams), batch_points=int(batch_points), connections=int(connections))
    uvloop.run(_run(of_service, its_load, float(length)))
