"""Timed reads through gRPC, until the last byte of the answer has arrived."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from runstream.v1 import packed_pb2, query_pb2

_SERVICE = "/runstream.v1.QueryService"

Read = Callable[[], Awaitable[float]]  # returns milliseconds


class Reader:
    """Reads from the service; every method returns milliseconds."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def chart(self, run_id: str, buckets: int = 1_000) -> float:
        """All series of a run. Raises if a long series uses less than half of its buckets."""
        request = query_pb2.ChartRequest(run_ids=[run_id], max_buckets=buckets)
        milliseconds, answers = await self._ask("Chart", request)
        for answer in answers:
            used = packed_pb2.PackedChartResponse.FromString(answer).bucket_count
            if not buckets / 2 <= used <= buckets:
                raise RuntimeError(f"a chart used {used} of {buckets} buckets")
        return milliseconds

    async def latest(self, run_ids: list[str]) -> float:
        """The latest values of runs."""
        return (await self._ask("Latest", query_pb2.LatestRequest(run_ids=run_ids)))[0]

    async def history(self, run_id: str, rank: int) -> float:
        """All points of one rank."""
        return (await self._ask("History", query_pb2.HistoryRequest(run_id=run_id, rank=rank)))[0]

    async def _ask(self, method: str, request: Any) -> tuple[float, list[bytes]]:
        call: Any = self._channel.unary_stream(f"{_SERVICE}/{method}")
        begun = time.perf_counter()
        answers = [answer async for answer in call(request.SerializeToString())]
        return 1000 * (time.perf_counter() - begun), answers


async def repeated(read: Read, times: int) -> list[float]:
    """The sorted times of a repeated read."""
    return sorted([await read() for _ in range(times)])


async def while_loading(load: Awaitable[Any], address: str, chart_run: str, latest_run: str) -> dict[str, list[float]]:
    """The milliseconds of charts and latest values of two runs, read for as long as the load goes on."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "runstream_bench.read_process", address, chart_run, latest_run,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        await load
    finally:
        output, _ = await process.communicate(b"")  # which ends its input
    if process.returncode:
        raise RuntimeError(f"read_process ended with {process.returncode}")
    timed: dict[str, list[float]] = json.loads(output)
    return timed
