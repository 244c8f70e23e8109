"""`runstream bench --page`: what open pages of one run cost a replica, and how late points come to them.

The same load, four ranks that log 20 metrics ten times a second, runs once without pages and once with them. The pages
are connections of this process, which read as a browser does; its own processor time does not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import grpc
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from runstream.v1 import run_pb2, run_pb2_grpc
from runstream_bench.event_reader import EventReader
from runstream_bench.progress import say
from runstream_bench.server_process import RunstreamProcess
from runstream_bench.service import service, temporary_postgres
from runstream_bench.tail_latency import send_steps
from runstream_bench.usage import cpu_seconds
from runstream_service.concurrency.deadlines import with_timeout

PAGES = 200
_RANKS, _EVERY_S = 4, 0.1
_ARRIVE_WITHIN_S = 30.0
# The first points of a service cost more, and are not measured.
_WARM_UP_S = 3.0

_ROWS = (
    ("pages", "open pages of one run"),
    ("cores_without", "cores of the service without them"),
    ("cores_with", "cores of the service with them"),
    ("cores_of_pages", "cores for the pages"),
    ("events_per_page_s", "events a page gets, a second"),
    ("log_to_event_p50_ms", "from log() to the event, median, ms"),
    ("log_to_event_p99_ms", "from log() to the event, 99 %, ms"),
    ("rows_exact", "every page got every point once"),
)


class _Page:
    """One open page: how many points and events it has got, and how old the oldest point of each event was."""

    def __init__(self, url: str, run_id: str) -> None:
        self._reader = EventReader(url, {"run": run_id})
        self._task: asyncio.Task[None]
        self.points = self.events = 0
        self.ages_ms: list[float] = []
        self._changed = asyncio.Event()

    async def open(self) -> None:
        if await self._reader.open() != 200:
            raise RuntimeError(f"the service does not take the page: {self._reader.head.decode()}")
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for event in self._reader.events():
            if event.kind == "points":
                now_us = time.time_ns() // 1_000
                series = event.data["series"]
                self.events += 1
                self.points += sum(one["count"] for one in series)
                self.ages_ms.append((now_us - min(one["first_time_us"] for one in series)) / 1_000)
                self._changed.set()

    async def has(self, points: int) -> None:
        """Waits until this many points have arrived."""
        while self.points < points:
            self._changed.clear()
            await self._changed.wait()

    async def close(self) -> None:
        await self._reader.close()
        await self._task


def run(*, seconds: float, as_json: bool) -> int:
    """Measures and prints. Returns the exit code: 1 if a page did not get each point once."""
    values = uvloop.run(_measure(seconds))
    if as_json:
        sys.stdout.write(json.dumps(values) + "\n")
    else:
        _print(values, Console())
    return 0 if values["rows_exact"] else 1


async def _measure(seconds: float) -> dict[str, Any]:
    async with temporary_postgres() as postgres:
        log_file = Path(postgres.data_dir) / "service.log"
        async with service(postgres.url, log_file) as running:
            await _cores(running, min(seconds, _WARM_UP_S), [])
            say(f"{_RANKS} ranks without pages")
            without, _, _ = await _cores(running, seconds, [])
            say(f"the same with {PAGES} pages")
            run_id = await _make_run(running)
            pages = [_Page(running.http_url, run_id) for _ in range(PAGES)]
            await asyncio.gather(*(page.open() for page in pages))
            with_, sent, took_s = await _cores(running, seconds, pages, run_id)
            await asyncio.gather(*(page.close() for page in pages))
            say("from log() of the client to a page")
            ages_ms = await _log_to_event_ms(running, seconds)
    return {
        "pages": PAGES,
        "cores_without": without,
        "cores_with": with_,
        "cores_of_pages": with_ - without,
        "events_per_page_s": sum(page.events for page in pages) / PAGES / took_s,
        "log_to_event_p50_ms": ages_ms[len(ages_ms) // 2],
        "log_to_event_p99_ms": ages_ms[len(ages_ms) * 99 // 100],
        "rows_exact": all(page.points == sent for page in pages),
    }


async def _cores(
    running: RunstreamProcess, seconds: float, pages: list[_Page], run_id: str | None = None
) -> tuple[float, int, float]:
    """The cores that the service used under the load, the points that were sent, and how long it took."""
    process = psutil.Process(running.pid)
    run_id = run_id or await _make_run(running)
    begun, before = time.perf_counter(), cpu_seconds(process)
    sent = await send_steps(running.grpc_address, run_id, producers=_RANKS, every_s=_EVERY_S, seconds=seconds)
    with contextlib.suppress(TimeoutError):
        await with_timeout(asyncio.gather(*(page.has(sent) for page in pages)), _ARRIVE_WITHIN_S)
    # Of a second of the load, even if this machine is too busy to send it in time.
    return (cpu_seconds(process) - before) / seconds, sent, time.perf_counter() - begun


async def _log_to_event_ms(running: RunstreamProcess, seconds: float) -> list[float]:
    """The age of the oldest point of each event, for a run of the real client that logs every 20 ms."""
    run_id = await _make_run(running)
    page = _Page(running.http_url, run_id)
    await page.open()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "runstream_bench.tail_producer", running.grpc_address, run_id, str(seconds)
    )
    await process.wait()
    await with_timeout(page.has(1), _ARRIVE_WITHIN_S)  # on a busy machine, the first event may come after the run's end
    await page.close()
    return sorted(page.ages_ms)


async def _make_run(running: RunstreamProcess) -> str:
    run_id = uuid.uuid4().hex
    async with grpc.aio.insecure_channel(running.grpc_address) as channel:
        await run_pb2_grpc.RunServiceStub(channel).CreateRun(
            run_pb2.CreateRunRequest(run_id=run_id, experiment="bench")
        )
    return run_id


def _print(values: dict[str, Any], console: Console) -> None:
    table = Table(title="runstream bench --page", box=None)
    table.add_column("")
    table.add_column("", justify="right")
    for name, what in _ROWS:
        value = values[name]
        table.add_row(what, f"{value:.3g}" if isinstance(value, float) else str(value))
    console.print(table)
