"""The parts of `runstream bench --faults`: replicas, a PostgreSQL that can be slowed down, and client processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psutil

import runstream
from runstream_bench import http_client
from runstream_bench.fault_clients import KEYS, value_of
from runstream_bench.server_process import RunstreamProcess

_CHECK_EVERY_S = 0.1
_ANSWER_S = 5.0
# Of each tenth of a second, PostgreSQL runs in one hundredth.
_SLICE_S, _SLOWED = 0.01, 10


class Replica:
    """One `runstream serve` that can be restarted on the same ports, and its state as seen from outside."""

    def __init__(self, database_url: str, log_file: Path) -> None:
        self.process = RunstreamProcess(log_file, "--database", database_url)
        self.rss_mb: list[float] = []
        # Each change of the answer of /readyz, with its time.
        self.readiness: list[tuple[float, bool]] = []

    async def watch(self) -> None:
        """Records readiness and memory until cancelled."""
        while True:
            ready = await self._is_ready()
            if not self.readiness or self.readiness[-1][1] != ready:
                self.readiness.append((time.monotonic(), ready))
            if self.process.is_running:
                with contextlib.suppress(psutil.NoSuchProcess):
                    self.rss_mb.append(self.process.memory_bytes / 1e6)
            await asyncio.sleep(_CHECK_EVERY_S)

    async def _is_ready(self) -> bool:
        try:
            answer = await asyncio.to_thread(http_client.get, f"{self.process.http_url}/readyz", timeout_s=_ANSWER_S)
        except (OSError, HTTPException):
            return False
        return answer.status == 200

    def changed_at(self, ready: bool, since: float) -> float | None:
        """When /readyz first gave this answer after `since`; None if it did not."""
        return next((at for at, said in self.readiness if said == ready and at >= since), None)


@contextlib.asynccontextmanager
async def replicas(
    count: int, database_url: str, directory: Path, name: str = "replica"
) -> AsyncIterator[list[Replica]]:
    """Starts some replicas and watches them."""
    crew = [Replica(database_url, directory / f"{name}-{number}.log") for number in range(count)]
    watchers: list[asyncio.Task[None]] = []
    try:
        await asyncio.gather(*(replica.process.start_async() for replica in crew))
        watchers = [asyncio.create_task(replica.watch()) for replica in crew]
        yield crew
    finally:
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*(replica.process.stop_async() for replica in crew))


@contextlib.contextmanager
def slowed(postmaster: int) -> Iterator[None]:
    """All processes of a PostgreSQL get a tenth of the time: stopped and continued in slices. A slow network would only
    delay what is asked; this way locks are held ten times as long and checkpoints and roll-up are slow, too, as on a
    machine that is overloaded."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            family = _family(postmaster)
            for _ in range(_SLOWED):  # new backends are found once a second
                _send(family, psutil.Process.resume)
                begun = time.monotonic()
                time.sleep(_SLICE_S)
                _send(family, psutil.Process.suspend)
                # Measured, since on a busy machine a slice is longer than was asked for.
                if over.wait((time.monotonic() - begun) * (_SLOWED - 1)):
                    break
            _send(family, psutil.Process.resume)

    thread = threading.Thread(target=run, name="slow")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _family(postmaster: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(postmaster)
        return [parent, *parent.children()]
    except psutil.NoSuchProcess:
        return []


def _send(family: list[psutil.Process], signal: Callable[[psutil.Process], None]) -> None:
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            signal(process)


@dataclass(slots=True)
class Clients:
    """The processes of fault_clients.py, and their last line."""

    run_id: str
    process: asyncio.subprocess.Process
    say: Callable[[str], None]
    line: dict[str, Any] = field(default_factory=dict)
    most_bytes: int = 0
    _said: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> None:
        """Reads lines until the end."""
        assert self.process.stdout is not None
        shown = time.monotonic()
        while text := await self.process.stdout.readline():
            self.line = json.loads(text)
            self.most_bytes = max(self.most_bytes, self.line["bytes"])
            self._said.set()
            if time.monotonic() - shown >= 5.0:
                shown = time.monotonic()
                waiting = self.line["logged"] - self.line["acknowledged"]
                self.say(f"    logged {self.line['logged']:,}, not acknowledged {waiting:,}")
        self._said.set()  # wakes up those who wait, since there will be no more lines

    async def until(self, holds: Callable[[dict[str, Any]], Any]) -> Any:
        """Waits until something is true of the last line; returns that line. Raises RuntimeError if the clients end."""
        while not (found := holds(self.line)):
            if self.process.stdout is None or self.process.stdout.at_eof():
                raise RuntimeError("the clients ended")
            self._said.clear()
            await self._said.wait()
        return found

    async def tell(self, command: str) -> None:
        """Sends a command to the processes."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())
        await self.process.stdin.drain()


@contextlib.asynccontextmanager
async def clients(
    run_id: str, addresses: Sequence[str], count: int, points_per_s: float, say: Callable[[str], None]
) -> AsyncIterator[Clients]:
    """Starts the processes. When the block begins, all of them have had acknowledgements."""
    target = "ipv4:" + ",".join(addresses)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "runstream_bench.fault_clients", target, run_id, str(count), str(points_per_s),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24,
    )  # fmt: skip
    crew = Clients(run_id, process, say)
    reader = asyncio.create_task(crew.read())
    try:
        await crew.until(lambda line: line.get("all_acknowledged"))
        yield crew
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        reader.cancel()


@dataclass(frozen=True, slots=True)
class Count:
    """What is stored, compared with what was logged; points."""

    stored: int
    lost: int
    twice: int


def count(address: str, run_id: str, steps: Sequence[int]) -> Count:
    """Reads every point of a run back; `steps` says how many each rank has logged. A point with another value than was
    logged is lost."""
    stored = lost = twice = 0
    with runstream.Client(address) as client:
        for rank, logged in enumerate(steps):
            found: dict[str, list[int]] = {f"metric/{key}": [] for key in range(KEYS)}
            for piece in client.stream_history(run_id, rank=rank):
                key = int(piece.key.partition("/")[2])
                points = zip(piece.steps, piece.values, strict=True)
                found[piece.key].extend(step for step, value in points if value == value_of(step, key))
                stored += len(piece.values)
            for found_steps in found.values():
                once = set(found_steps)
                lost += logged - len(once & set(range(logged)))
                twice += len(found_steps) - len(once)
    return Count(stored, lost, twice)
