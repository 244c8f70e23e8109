"""`runstream bench --faults`: three replicas and their PostgreSQL are restarted, stopped, slowed and killed under load.

Each round has a run and clients of its own, and ends with counting: every point that was logged is stored once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass

import uvloop
from rich.console import Console
from rich.table import Table

from runstream_bench.fault_parts import Clients, Replica, clients, count, replicas, slowed
from runstream_bench.fault_rounds import ROUNDS
from runstream_bench.progress import say
from runstream_bench.service import temporary_postgres
from runstream_bench.tcp_proxy import Proxy, socket_of, through
from runstream_service.database.embedded import EmbeddedPostgres

_REPLICAS = 3
_CLIENTS = 50
_POINTS_PER_S = 100_000
_MINUTE_S = 60.0
# How long the load runs before and after a fault, and between the restarts of two replicas.
_QUIET_S = 5.0

Values = dict[str, float | bool | None]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Rounds:
    """The state that all rounds share."""

    postgres: EmbeddedPostgres
    crew: list[Replica]
    scale: float
    seconds: float | None  # of the outage of one replica
    say: Say
    values: Values

    async def restarted(self) -> None:
        """Restarts one replica after the other, as a rolling update does."""
        async with self._round("rolling") as load:
            drains: list[float] = []
            starts: list[float] = []
            await load.tell("mark")
            for number, replica in enumerate(self.crew, start=1):
                self.say(f"  replica {number} gets SIGTERM")
                begun = time.monotonic()
                await replica.process.stop_async()
                drains.append(time.monotonic() - begun)
                await replica.process.start_async()
                starts.append(time.monotonic() - begun - drains[-1])
                await asyncio.sleep(self._quiet_s)
            self.values["rolling_drain_s"] = max(drains)
            self.values["rolling_start_s"] = max(starts)
            self.values["rolling_ack_gap_s"] = load.line["gap_s"]

    async def stopped(self) -> None:
        """A fast shutdown of PostgreSQL, and a start a minute later."""
        async with self._round("stopped") as load:
            harmed = time.monotonic()
            await self.postgres.stop()
            await asyncio.sleep(self._minute_s)
            await self.postgres.start()
            await self._recovered("stopped", load, harmed)

    async def slowed(self) -> None:
        """PostgreSQL is ten times slower for a minute."""
        async with self._round("slowed") as load:
            harmed = time.monotonic()
            before = load.line["acknowledged"]
            assert self.postgres.pid is not None
            with slowed(self.postgres.pid):
                await asyncio.sleep(self._minute_s)
            self.values["slowed_points_per_s"] = (load.line["acknowledged"] - before) / (time.monotonic() - harmed)
            await self._recovered("slowed", load, harmed)

    async def killed(self) -> None:
        """kill -9 of the first process of PostgreSQL, and a start at once, which replays the log."""
        async with self._round("killed") as load:
            harmed = time.monotonic()
            assert self.postgres.pid is not None
            os.kill(self.postgres.pid, signal.SIGKILL)
            await self.postgres.stop()
            await self.postgres.start()
            await self._recovered("killed", load, harmed)

    async def cut_off(self) -> None:
        """Nothing passes between one replica and PostgreSQL, while another replica can reach it."""
        directory = self.postgres.data_dir
        url = self.postgres.url
        with Proxy(socket_of(url)) as proxy:
            async with (
                replicas(1, through(url, proxy.address), directory, "cut-off") as (cut,),
                self._round("cut_off", [self.crew[0], cut]) as load,
            ):
                harmed = time.monotonic()
                proxy.stall()
                await asyncio.sleep(self.seconds or self._minute_s)
                # Not at the end: by then the clients have moved to the other replica.
                self.values["cut_off_waiting_points"] = load.line["logged"] - load.line["acknowledged"]
                proxy.resume()
                await self._recovered("cut_off", load, harmed, [cut])

    @property
    def _minute_s(self) -> float:
        return _MINUTE_S * self.scale

    @property
    def _quiet_s(self) -> float:
        # Long enough for each client to have acknowledgements.
        return max(0.7, _QUIET_S * min(1.0, self.scale))

    @contextlib.asynccontextmanager
    async def _round(self, name: str, crew: Sequence[Replica] = ()) -> AsyncIterator[Clients]:
        """A load from before the fault until after it; then everything is counted. By default on all replicas."""
        run_id = uuid.uuid4().hex
        crew = crew or self.crew
        for replica in crew:
            replica.rss_mb.clear()
        number = max(5, round(_CLIENTS * min(1.0, self.scale)))
        addresses = [replica.process.grpc_address for replica in crew]
        async with clients(run_id, addresses, number, _POINTS_PER_S * self.scale, self.say) as load:
            await asyncio.sleep(self._quiet_s)
            yield load
            await load.tell("stop")
            reports = await load.until(lambda line: line.get("reports"))
        # Before counting, which is a load as well.
        self.values[f"{name}_rss_max_mb"] = max(max(replica.rss_mb) for replica in crew)
        self.say("  counting")
        found = await asyncio.to_thread(
            count, self.crew[0].process.grpc_address, run_id, [report["steps"] for report in reports]
        )
        warnings = [warning for report in reports for warning in report["warnings"]]
        errors = [report["last_error"] for report in reports if report["last_error"]]
        for said in (*warnings[:2], *errors[:2]):
            self.say(f"    a client says: {said}")
        self.values.update(
            {
                f"{name}_points_logged": load.line["logged"],
                f"{name}_points_stored": found.stored,
                f"{name}_points_lost": found.lost,
                f"{name}_points_twice": found.twice,
                f"{name}_points_refused": sum(report["refused"] for report in reports),
                f"{name}_client_warnings": len(warnings),
                f"{name}_client_errors": len(errors),
                f"{name}_client_reconnects": sum(report["reconnects"] for report in reports),
                f"{name}_client_waiting_max_mb": load.most_bytes / 1e6,
            }
        )

    async def _recovered(self, name: str, load: Clients, harmed: float, crew: Sequence[Replica] = ()) -> None:
        """Records what followed from a fault that has just ended, of all replicas or some."""
        crew = crew or self.crew
        ended = time.monotonic()
        await load.tell("mark")
        self.values[f"{name}_all_arrived_s"] = await load.until(lambda line: line["arrived_s"])
        await asyncio.sleep(self._quiet_s)
        gone = [at for replica in crew if (at := replica.changed_at(False, harmed)) is not None]
        back = [at for replica in crew if (at := replica.changed_at(True, min(gone, default=ended))) is not None]
        self.values[f"{name}_replicas_not_ready"] = len(gone)
        self.values[f"{name}_not_ready_after_s"] = max(gone) - harmed if gone else None
        self.values[f"{name}_ready_after_s"] = max(0.0, max(back) - ended) if back else None


def run(*, scale: float, seconds: float | None, only: Collection[str], as_json: bool) -> int:
    """Measures some of `ROUNDS`, or all if none is named, and prints. Returns the exit code: 1 if a point is lost or
    stored twice."""
    names = [name for name in ROUNDS if not only or name in only]
    values = uvloop.run(_measure(names, scale, seconds, say))
    if as_json:
        sys.stdout.write(json.dumps({key: _rounded(value) for key, value in values.items()}) + "\n")
    else:
        _print(names, values, Console())
    return 0 if values["rows_exact"] else 1


async def _measure(names: Sequence[str], scale: float, seconds: float | None, say: Say) -> Values:
    values: Values = {}
    say(f"starting PostgreSQL and {_REPLICAS} replicas")
    async with (
        temporary_postgres() as postgres,
        replicas(_REPLICAS, postgres.url, postgres.data_dir) as crew,
    ):
        rounds = _Rounds(postgres, crew, scale, seconds, say, values)
        steps = {
            "rolling": rounds.restarted,
            "stopped": rounds.stopped,
            "slowed": rounds.slowed,
            "killed": rounds.killed,
            "cut_off": rounds.cut_off,
        }
        for name in names:
            say(ROUNDS[name])
            await steps[name]()
    for what in ("lost", "twice", "refused"):
        values[f"points_{what}"] = sum(values[f"{name}_points_{what}"] or 0 for name in names)
    values["rows_exact"] = not (values["points_lost"] or values["points_twice"] or values["points_refused"])
    return values


def _rounded(value: float | bool | None) -> float | bool | None:
    return round(value, 3) if isinstance(value, float) else value


_ROWS = (
    ("points logged", "points_logged", ""),
    ("points lost", "points_lost", ""),
    ("points stored twice", "points_twice", ""),
    ("longest gap between acks", "ack_gap_s", "s"),
    ("replicas that were not ready", "replicas_not_ready", ""),
    ("    after", "not_ready_after_s", "s"),
    ("    ready again after", "ready_after_s", "s"),
    ("points that waited at its end", "waiting_points", ""),
    ("everything had arrived after", "all_arrived_s", "s"),
    ("memory of a replica, most", "rss_max_mb", "MB"),
    ("waiting in all clients, most", "client_waiting_max_mb", "MB"),
    ("warnings of clients", "client_warnings", ""),
    ("clients that saw an error", "client_errors", ""),
)


def _print(names: Sequence[str], values: Values, console: Console) -> None:
    table = Table("", *(ROUNDS[name] for name in names), title="runstream bench --faults", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for label, key, unit in _ROWS:
        cells = []
        for name in names:
            value = values.get(f"{name}_{key}")
            cells.append("" if value is None else f"{value:,.{1 if isinstance(value, float) else 0}f} {unit}".strip())
        table.add_row(label, *cells)
    console.print(table)
    console.print("Every point stored once:", "yes" if values["rows_exact"] else "NO")
