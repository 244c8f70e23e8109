"""`runstream bench --client`: what the client costs a training process, and how fast an agent drains journals."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from runstream.agent.launch import ensure_agent
from runstream_bench.client_places import Place, output_of, place
from runstream_bench.client_trainer import KEYS
from runstream_bench.flapping import FlappingProxy
from runstream_bench.progress import say
from runstream_bench.report import as_json as to_json
from runstream_bench.session import NO_ROLL_UP, STORED, Started, started

Say = Callable[[str], None]
Values = dict[str, Any]

_SLOW_SYNC_S = 0.5  # how much longer each sync of a journal takes on the slow disk
_FLAPPING_S = 2.0  # the service is reachable for this long, and then unreachable for as long
_STARTS = 5  # fresh processes for the cost of import and of the first start_run()
_FLOOR = 100  # calls of a peer, at least


def run(*, scale: float, as_json: bool) -> int:
    """Measures and prints. Returns the exit code: 1 if a logged point is missing or stored twice."""
    values = uvloop.run(_measure(scale, say))
    if as_json:
        sys.stdout.write(to_json(values) + "\n")
    else:
        _print(values, Console())
    return 0 if values["rows_exact"] else 1


async def _measure(scale: float, say: Say) -> Values:
    async with started(say, *NO_ROLL_UP) as parts:
        bench = ClientBench(parts, scale, say)
        await bench.imports()
        await bench.first_runs()
        await bench.what_a_process_has()
        await bench.log_cost()
        await bench.step_overhead()
        await bench.drains()
        await bench.peers()
    return bench.values | {"rows_exact": bench.exact}


class ClientBench:
    """The measurements, one after the other, each in processes of its own and with an agent of its own."""

    def __init__(self, parts: Started, scale: float, say: Say) -> None:
        self._parts = parts
        self._scale = scale
        self._say = say
        self.values: Values = {}
        self.exact = True

    @property
    def _starts(self) -> int:
        return max(1, round(_STARTS * min(self._scale, 1.0)))

    async def imports(self) -> None:
        """The time that the import takes in a new process."""
        self._say("import")
        code = "import time; begun = time.perf_counter(); import runstream; print(time.perf_counter() - begun)"
        spent = []
        for _ in range(self._starts):
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
            spent.append(float((await process.communicate())[0]))
        self.values["import_ms"] = 1_000 * statistics.median(spent)

    async def first_runs(self) -> None:
        """The time that the first start_run() takes, while no agent runs yet."""
        self._say("first start_run()")
        spent = []
        for _ in range(self._starts):
            async with place(self._parts.address) as here:
                spent.append((await here.trainer("first_run"))["ms"])
        self.values["start_run_ms"] = statistics.median(spent)

    async def what_a_process_has(self) -> None:
        """Threads, modules and sockets of a training process."""
        self._say("threads, modules and sockets")
        async with place(self._parts.address) as here:
            threads = await here.trainer("threads")
            self.values["threads_more"] = max(threads.values())
            self.values |= {f"threads_more_{runs}": more for runs, more in threads.items()}
            self.values |= await here.trainer("modules")

    async def log_cost(self) -> None:
        """The cost of log() to its caller, as client_trainer.log measures it."""
        calls = self._scaled(100_000)
        for label, slow_sync_s in (("", 0.0), ("_service_down", 0.0), ("_slow_disk", _SLOW_SYNC_S)):
            self._say(f"log(), {calls:,} calls{label.replace('_', ' ')}")
            async with self._place(is_down=label == "_service_down") as (here, more):
                found = await here.trainer("log", calls, slow_sync_s, **more)
            self.exact &= found["lost"] == 0
            self.values[f"log_us_median{label}"] = found["median"]
            self.values[f"log_us_p999{label}"] = found["p999"]
        self.values["slow_disk_sync_s"] = _SLOW_SYNC_S

    async def step_overhead(self) -> None:
        """How much longer training steps take that log, as client_trainer.steps measures it."""
        pairs, block = max(2, round(8 * min(self._scale, 1.0))), max(10, round(100 * min(self._scale, 1.0)))
        for label in ("up", "down", "flapping"):
            self._say(f"training steps with and without log(), service {label}")
            async with self._place(is_down=label == "down", flaps=label == "flapping") as (here, more):
                # Threads of the linear algebra would wait for each other, and for the service, on few cores.
                found = await here.trainer("steps", pairs, block, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", **more)
            self.exact &= found["lost"] == 0
            self.values[f"step_overhead_percent_{label}"] = found["median"]
            self.values[f"step_overhead_mean_percent_{label}"] = found["mean"]
            self.values[f"step_cost_percent_{label}"] = found["cost"]
            self.values[f"step_ms_{label}"] = found["step_ms"]
            if label == "up":
                self.values["agent_rss_mb"] = here.agent_rss_mb

    async def drains(self) -> None:
        """The time until points are acknowledged that waited in journals while no agent ran."""
        rss_mb = []
        for label, journals, points in (("drain", 1, 400_000), ("agent_drain", 8, 100_000)):
            points = self._scaled(points, KEYS)
            self._say(f"{journals} journals of {points:,} points: written offline, then drained")
            async with place(self._parts.address) as here:
                run_id = uuid.uuid4().hex
                written = await here.trainer("write", run_id, journals, points, RUNSTREAM_AGENT="external")
                total = written["points"]
                self.exact &= total == journals * points
                asked = time.monotonic()
                ensure_agent(here.directory, here.environment)
                first, last = await here.drained(partial(self._is_known, run_id))
            rss_mb.append(here.agent_rss_mb)
            self.exact &= await self._is_exact(run_id, journals, points // KEYS)
            self.values[f"{label}_points_per_s"] = total / (last - first)
            self.values[f"{label}_with_start_of_agent_s"] = last - asked
        self.values["agent_rss_mb_draining"] = max(rss_mb)

    async def peers(self) -> None:
        """The same call of other clients, where they are installed."""
        mlflow_uri = self._parts.http
        ours = f"runstream://{self._parts.address}?http={self._parts.http}"
        of_mlflow = (
            ("mlflow_log_metric", "mlflow", 300, mlflow_uri),
            ("mlflow_log_metric_async", "mlflow_async", 2_000, mlflow_uri),
            ("mlflow_log_metric_runstream", "mlflow", 5_000, ours),
        )
        self.values["skipped"] = {}
        for peers in (of_mlflow, (("trackio_log", "trackio", 1_000, ""),), (("wandb_log", "wandb", 1_000, ""),)):
            labels = [label for label, *_ in peers]
            self._say(", ".join(labels).replace("_", " "))
            arguments = [(peer, max(_FLOOR, self._scaled(calls)), uri) for _, peer, calls, uri in peers]
            for label, found in zip(labels, await self._measured(*arguments), strict=True):
                self._add_peer(label, found)

    def _add_peer(self, label: str, found: Values) -> None:
        if "skipped" in found:
            self.values["skipped"][label] = found["skipped"]
            self._say(f"    {label} is skipped: {found['skipped']}")
        else:
            self.values[f"{label}_us"] = found["median"]
            self.values[f"{label}_us_p999"] = found["p999"]

    async def _measured(self, *peers: tuple[str, int, str]) -> list[Values]:
        """In one process, since the import of a client takes longer than its calls."""
        with tempfile.TemporaryDirectory(prefix="runstream-bench-", ignore_cleanup_errors=True) as home:
            async with place(self._parts.address) as here:
                more = {"HOME": home, "WANDB_MODE": "offline", "WANDB_SILENT": "true", "TRACKIO_DIR": home}
                more["MLFLOW_DISABLE_TELEMETRY"] = "true"
                module = "runstream_bench.client_peers"
                arguments = [argument for peer in peers for argument in peer]
                found: list[Values] = await output_of(module, *arguments, env=here.environment | more, cwd=Path(home))
                return found

    @contextlib.asynccontextmanager
    async def _place(self, *, is_down: bool, flaps: bool = False) -> AsyncIterator[tuple[Place, dict[str, str]]]:
        """With the service up, at an address where nothing listens, or through a proxy that comes and goes."""
        async with contextlib.AsyncExitStack() as stack:
            address, more = self._parts.address, {}
            if is_down:
                address, more = _nobodys_address(), {"BENCH_SERVICE": "away"}
            elif flaps:
                address = (await stack.enter_async_context(FlappingProxy(address, _FLAPPING_S))).address
            yield await stack.enter_async_context(place(address)), more

    async def _is_known(self, run_id: str) -> bool:
        """Whether the service knows the run, which it does before it gets points."""
        return bool(await self._parts.database.fetchval("SELECT 1 FROM runs WHERE run_id = $1::uuid", run_id))

    async def _is_exact(self, run_id: str, ranks: int, steps: int) -> bool:
        """Whether the table holds each point of the steps 0, 1, ... of each series once."""
        rows = await self._parts.database.fetch(STORED, run_id)
        stored = sorted((row["rank"], row["points"], int(row["steps"]), int(row["squares"])) for row in rows)
        series = (steps, steps * (steps - 1) // 2, (steps - 1) * steps * (2 * steps - 1) // 6)
        return stored == sorted((rank, *series) for rank in range(ranks) for _ in range(KEYS))

    def _scaled(self, count: int, multiple: int = 1) -> int:
        return max(1, round(count * self._scale) // multiple) * multiple


def _nobodys_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def _print(values: Values, console: Console) -> None:
    table = Table("what", "measured", "aim", title="runstream bench --client", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for label, key, unit, aim in _ROWS:
        if key in values:
            table.add_row(label, _cell(values[key], unit), aim)
    console.print(table)
    for label, why in values["skipped"].items():
        console.print(f"{label}: skipped, {why}", highlight=False)


def _cell(value: Any, unit: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return f"{value:,.{0 if value >= 1_000 or isinstance(value, int) else 2}f} {unit}".rstrip()


_ROWS = (
    ("log() of 1 metric, median", "log_us_median", "µs", "<= 2.5"),
    ("    p99.9", "log_us_p999", "µs", "<= 100"),
    ("    service down, median", "log_us_median_service_down", "µs", "<= 2.5"),
    ("    service down, p99.9", "log_us_p999_service_down", "µs", "<= 100"),
    ("    each sync 0.5 s longer, median", "log_us_median_slow_disk", "µs", "<= 2.5"),
    ("    each sync 0.5 s longer, p99.9", "log_us_p999_slow_disk", "µs", "<= 100"),
    ("mlflow.log_metric, median", "mlflow_log_metric_us", "µs", ""),
    ("    synchronous=False", "mlflow_log_metric_async_us", "µs", ""),
    ("    through runstream://", "mlflow_log_metric_runstream_us", "µs", "< 1,000"),
    ("trackio.log, median", "trackio_log_us", "µs", ""),
    ("wandb, offline, median", "wandb_log_us", "µs", ""),
    ("step with 20 metrics, service up, median", "step_overhead_percent_up", "%", "<= 1"),
    ("    mean", "step_overhead_mean_percent_up", "%", ""),
    ("    log() and the CPU time of its thread", "step_cost_percent_up", "%", "<= 1"),
    ("    service down, median", "step_overhead_percent_down", "%", "<= 1"),
    ("    mean", "step_overhead_mean_percent_down", "%", ""),
    ("    log() and the CPU time of its thread", "step_cost_percent_down", "%", "<= 1"),
    ("    service flapping, median", "step_overhead_percent_flapping", "%", "<= 1"),
    ("    mean", "step_overhead_mean_percent_flapping", "%", ""),
    ("    log() and the CPU time of its thread", "step_cost_percent_flapping", "%", "<= 1"),
    ("    its length without log()", "step_ms_up", "ms", ""),
    ("threads more, 1 run", "threads_more_1", "", "1"),
    ("threads more, 20 runs", "threads_more_20", "", "1"),
    ("modules that should not be loaded", "modules", "", "none"),
    ("sockets", "sockets", "", "0"),
    ("drain of one journal", "drain_points_per_s", "points/s", ">= 300,000"),
    ("    with the start of the agent", "drain_with_start_of_agent_s", "s", ""),
    ("drain of eight journals", "agent_drain_points_per_s", "points/s", ">= 500,000"),
    ("    with the start of the agent", "agent_drain_with_start_of_agent_s", "s", ""),
    ("memory of the agent, most, 4,000 points/s", "agent_rss_mb", "MB", "< 60"),
    ("    draining", "agent_rss_mb_draining", "MB", ""),
    ("import runstream", "import_ms", "ms", "< 60"),
    ("first start_run()", "start_run_ms", "ms", "< 20"),
    ("table holds exactly the points that were logged", "rows_exact", "", "yes"),
)
