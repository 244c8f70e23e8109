"""Where `runstream bench --client` runs its parts: a journal directory with its agent, and training processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from runstream.journal import Directory

_SAMPLE_EVERY_S = 0.1
_END_S = 2.0
_DRAIN_TIMEOUT_S = 120.0
_CHECK_EVERY_S = 0.01


@dataclass(slots=True)
class Place:
    """A journal directory of its own, with the address of the service that its processes are told."""

    directory: Directory
    environment: dict[str, str]
    agent_rss_mb: float = 0.0  # the most memory that the agent had

    async def trainer(self, what: str, *arguments: object, **more: str) -> dict[str, Any]:
        """Runs client_trainer.py here, with more variables."""
        environment = self.environment | more
        found: dict[str, Any] = await output_of("runstream_bench.client_trainer", what, *arguments, env=environment)
        return found

    async def drained(self, has_begun: Callable[[], Awaitable[bool]]) -> tuple[float, float]:
        """Waits until the agent has brought all journals to the service and deleted them, which it does at once.
        Returns when it had not begun, for the last time, and when all were gone, by the monotonic clock."""
        paths = self.directory.journals()
        begun = time.monotonic()
        give_up = begun + _DRAIN_TIMEOUT_S
        waits = True
        while True:
            now = time.monotonic()
            if waits and (waits := not await has_begun()):
                begun = now
            left = [path for path in paths if path.exists()]
            if not left:
                return begun, time.monotonic()
            if now > give_up:
                raise TimeoutError(f"{len(left)} journals were not drained within {_DRAIN_TIMEOUT_S:.0f} s")
            await asyncio.sleep(_CHECK_EVERY_S)

    async def watch_agent(self) -> None:
        """Samples the memory of the agent until cancelled."""
        while True:
            with contextlib.suppress(psutil.NoSuchProcess):
                if self.directory.agent_runs():
                    rss = psutil.Process(self.directory.agent_pid()).memory_info().rss
                    self.agent_rss_mb = max(self.agent_rss_mb, rss / 1e6)
            await asyncio.sleep(_SAMPLE_EVERY_S)

    async def end_agent(self) -> None:
        """Ends the agent. Returns when none runs any more."""
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            give_up = time.monotonic() + _END_S
            if self.directory.agent_runs():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.directory.agent_pid(), number)
            while self.directory.agent_runs() and time.monotonic() < give_up:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def place(address: str) -> AsyncIterator[Place]:
    """A fresh directory; it and its agent are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="runstream-bench-", ignore_cleanup_errors=True) as name:
        directory = Directory(Path(name) / "journals")
        directory.make()
        here = Place(directory, environment(address, directory.path))
        watcher = asyncio.create_task(here.watch_agent())
        try:
            yield here
        finally:
            watcher.cancel()
            await here.end_agent()


def environment(address: str, directory: Path) -> dict[str, str]:
    """Our environment without the user's settings and launchers; numpy computes in one thread."""
    foreign = ("RUNSTREAM_", "MLFLOW_", "WANDB_", "TRACKIO_", "SLURM_", "OMPI_", "TORCHELASTIC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        kept.pop(name, None)
    kept |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return {**kept, "RUNSTREAM_DIR": str(directory), "RUNSTREAM_ADDRESS": address}


async def output_of(module: str, *arguments: object, env: Mapping[str, str], cwd: Path | None = None) -> Any:
    """Runs a module in a process of its own, and reads the JSON that it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *map(str, arguments), env=dict(env), cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        output, errors = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise RuntimeError(f"{module} {arguments} ended with {process.returncode}:\n{errors.decode()[-3_000:]}")
    return json.loads(output)
