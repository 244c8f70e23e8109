"""One tracker in one scenario: its processes, its training processes, and what they left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runstream.journal import Directory
from runstream_bench.client_places import Place
from runstream_bench.durability import programs
from runstream_bench.durability.counting import Counts, Notes, count, read_notes, read_points
from runstream_bench.durability.servers import Stack
from runstream_bench.durability.trackers import Tracker, clean_environment
from runstream_bench.server_process import ends_within

PROJECT = "durability"
_PROGRAMS = Path(next(iter(programs.__path__)))
_CHECK_EVERY_S = 0.05
# Longer than any client keeps trying, so that each ends in its own way.
_PATIENCE_S = 900.0
_READ_SECONDS = 120.0
_KEYS = [f"metric_{number}" for number in range(4)]


@dataclass(slots=True)
class Trainer:
    """A training process."""

    process: subprocess.Popen[bytes]
    truth: Path
    rank: int

    def notes(self) -> Notes:
        """What the process has written down so far."""
        return read_notes(self.truth, self.rank) if self.truth.exists() else Notes()

    async def ready(self) -> None:
        """Returns when its run has begun.

        Raises:
            RuntimeError: it could not.
        """
        while not (notes := self.notes()).run_id:
            if notes.failed or self.process.poll() is not None:
                raise RuntimeError(f"the training process could not start its run: {notes.failed or 'it ended'}")
            await asyncio.sleep(_CHECK_EVERY_S)

    def kill(self) -> None:
        """kill -9 of this process alone: processes that its client has started live on."""
        self.process.send_signal(signal.SIGKILL)

    def tell_to_end(self) -> None:
        """Tells it to end its run and itself, as a training does after its last step."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    async def ended(self) -> None:
        """Returns when the process has ended; kills it if that takes too long."""
        await ends_within(self.process, _PATIENCE_S)
        self.kill()
        await ends_within(self.process, _PATIENCE_S)

    async def stop(self) -> None:
        """Tells it to end, and waits for it."""
        self.tell_to_end()
        await self.ended()


@dataclass(slots=True)
class Result:
    """The result of one cell. `counts` is None if the tracker did not get that far; `why` gives the reason."""

    tracker: str
    scenario: str
    counts: Counts | None = None
    why: str = ""
    runs: int = 0
    calls: int = 0
    init_s: float = 0.0
    log_ms: float = 0.0  # of a call, median
    waited_s: float = 0.0  # of the training process that waited longest, in all its calls and its end
    worst_s: float = 0.0  # of a call
    finish_s: float | None = None
    background_ms: float = 0.0  # CPU time of other threads of the process, for each call
    errors: dict[str, int] = field(default_factory=dict)
    told: int = 0  # points of which the script was told at its end
    remark: str = ""


@dataclass(slots=True)
class Cell:
    """What a scenario works with. All times are multiplied by `scale`."""

    tracker: Tracker
    stack: Stack
    directory: Path
    local: Path  # the disk of the machine that trains
    python: Path
    turn: contextlib.ExitStack  # closed when another cell may have the machine
    scale: float
    trainers: list[Trainer] = field(default_factory=list)
    others: list[Trainer] = field(default_factory=list)
    remark: str = ""

    async def trainer(self, *, run: str = "run", rank: int = 0, ranks: int = 1, **more: Any) -> Trainer:
        """Starts one whose points are counted; returns when its run has begun."""
        one = self._launch(f"trainer-{len(self.trainers)}", run=run, rank=rank, ranks=ranks, **more)
        self.trainers.append(one)
        await one.ready()
        return one

    async def next_job(self) -> None:
        """A later training on the same machine, as there is one sooner or later: some clients then bring what an
        earlier one has left."""
        one = self._launch(f"other-{len(self.others)}", run=f"later-{len(self.others)}")
        self.others.append(one)
        await one.ready()
        await self.sleep(3)
        await one.stop()

    async def sleep(self, seconds: float) -> None:
        """Sleeps for this long, multiplied by `scale`."""
        await asyncio.sleep(seconds * self.scale)

    async def outage(self, seconds: float) -> None:
        """The server is away for so long. From now on other cells may use the machine: most of what comes is waiting,
        and an outage that waited for its turn at the end would be longer than it says."""
        self.turn.close()
        begun = time.monotonic()
        await self.sleep(seconds)
        assert self.stack.server is not None
        await self.stack.server.start_async()
        self.remark = f"the server was away for {time.monotonic() - begun:.0f} s"

    def _launch(self, name: str, **config: Any) -> Trainer:
        truth = self.directory / f"{name}.truth"
        told = {"truth": str(truth), "step_s": 0.05, "script": "sequence", "join": ""}
        with (self.directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [str(self.python), str(_PROGRAMS / "trainer.py"), json.dumps({**self._config(), **told, **config})],
                cwd=self.local, env=self._environment(), stdin=subprocess.PIPE, stdout=log, stderr=log,
            )  # fmt: skip
        return Trainer(process, truth, config.get("rank", 0))

    def _config(self) -> dict[str, Any]:
        place = {"address": self.stack.address, "directory": self.stack.directory}
        return {"client": self.tracker.client, "project": PROJECT, "keys": len(_KEYS), "rank": 0, "ranks": 1, **place}

    def _environment(self) -> dict[str, str]:
        return clean_environment(self.local) | self.stack.environment

    async def result(self, scenario: str, settle_s: float) -> Result:
        """Reads everything back and counts; again for a while, as long as points are missing."""
        notes = [trainer.notes() for trainer in self.trainers]
        give_up = time.monotonic() + settle_s * self.scale
        if self.stack.directory and self.stack.server is not None:
            await self.sleep(settle_s)
            await self.stack.server.stop_async()  # its repository is read as files
        while True:
            counts = count([call for one in notes for call in one.calls], await self._read(notes))
            if not counts.lost or time.monotonic() > give_up or self.stack.directory:
                break
            await asyncio.sleep(1.0)
        return _result(self.tracker.name, scenario, notes, counts, self.remark)

    async def _read(self, notes: list[Notes]) -> list[tuple[Any, float]]:
        out = self.directory / "points"
        runs = sorted({one.run_id for one in notes})
        config = {**self._config(), "ranks": len(notes) if len(runs) < len(notes) else 1}
        config |= {"runs": runs, "names": _KEYS, "out": str(out)}
        with (self.directory / "reader.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                str(self.python), str(_PROGRAMS / "reader.py"), json.dumps(config), cwd=self.directory,
                env=self._environment() | self.stack.reading, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            status = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
        if status:
            raise RuntimeError(f"reading failed:\n{(self.directory / 'reader.log').read_text()[-1_500:]}")
        return read_points(out)

    async def close(self) -> None:
        """Ends all processes of this cell."""
        for trainer in (*self.trainers, *self.others):
            trainer.kill()
            await trainer.ended()
        if journals := self.stack.environment.get("RUNSTREAM_DIR"):
            await Place(Directory(Path(journals)), {}).end_agent()
        await self.stack.stop()


def _result(tracker: str, scenario: str, notes: list[Notes], counts: Counts, remark: str) -> Result:
    calls = [call for one in notes for call in one.calls]
    seconds = sorted(call.seconds for call in calls if call.seconds is not None) or [0.0]
    ends = [one.finish_s for one in notes if one.finish_s is not None]
    return Result(
        tracker=tracker,
        scenario=scenario,
        counts=counts,
        runs=len({one.run_id for one in notes}),
        calls=len(calls),
        init_s=max(one.init_s for one in notes),
        log_ms=1_000 * seconds[len(seconds) // 2],
        waited_s=max(one.waited_s for one in notes),
        worst_s=seconds[-1],
        finish_s=max(ends) if ends else None,
        background_ms=1_000 * sum(one.others_s for one in notes) / max(1, len(calls)),
        errors=dict(Counter(error for one in notes for error in one.errors).most_common(3)),
        told=sum(len(one.told) for one in notes),
        remark=remark,
    )


def our_python() -> Path:
    """The Python that runs this, which runstream's own training processes use, too."""
    return Path(sys.executable)


def readable(directory: Path) -> None:
    """Lets other users pass: when root runs this, PostgreSQL runs as another user."""
    os.chmod(directory, 0o755)  # noqa: S103 - a directory of the benchmark
