"""Reads in a process of its own. In the process of a load they would wait for its event loop, which is as busy as that
of the service.

python -m runstream_bench.read_process ADDRESS CHART_RUN LATEST_RUN

It reads each about four times a second until its input ends, and prints the milliseconds as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys

import grpc
import uvloop

from runstream_bench.storage_reads import Reader

_PAUSE_S = 0.25


async def _run(address: str, chart_run: str, latest_run: str) -> None:
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    timed: dict[str, list[float]] = {"chart": [], "latest": []}
    async with grpc.aio.insecure_channel(address) as channel:
        reader = Reader(channel)
        while not ended.done():
            timed["chart"].append(await reader.chart(chart_run))
            timed["latest"].append(await reader.latest([latest_run]))
            await asyncio.wait({ended}, timeout=_PAUSE_S)
    sys.stdout.write(json.dumps(timed) + "\n")


if __name__ == "__main__":
    _, of_service, of_chart, of_latest = sys.argv
    uvloop.run(_run(of_service, of_chart, of_latest))
