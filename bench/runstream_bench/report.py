"""The results of a benchmark: one JSON object for programs, one table for people."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from runstream_bench.session import AGENTS, DIRECT, Pair


@dataclass(slots=True)
class Report:
    """Medians of all rounds. Points per second, milliseconds, microseconds, megabytes (of 10^6 bytes), CPU seconds."""

    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    ack_latencies_s: list[float] = field(default_factory=list)
    log_us: dict[str, float] = field(default_factory=dict)
    rss_mb: list[float] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    rows_exact: bool = False

    def as_json(self) -> str:
        """The object that `--json` prints."""
        return as_json(self._values())

    def _values(self) -> dict[str, float | bool]:
        values: dict[str, float | bool] = {}
        everything = [pair.raw_copy for pairs in self.pairs.values() for pair in pairs]
        values["raw_copy_points_per_s"] = statistics.median(everything)
        for name, pairs in self.pairs.items():
            values[f"raw_copy_points_per_s_{name}"] = statistics.median(pair.raw_copy for pair in pairs)
            values[f"ingest_points_per_s_{name}"] = statistics.median(pair.ingest for pair in pairs)
            # The ratio of each pair, not of the medians: the speed of the machine changes between pairs.
            values[f"ratio_{name}"] = statistics.median(pair.ingest / pair.raw_copy for pair in pairs)
            for key, value in _usage(pairs).items():
                values[f"{key}_{name}"] = value
        values |= self._of_agents(values)
        values.update(self.metrics)
        ordered = sorted(self.ack_latencies_s)
        values["ack_p50_ms_light"] = 1000 * ordered[len(ordered) // 2]
        values["ack_p99_ms_light"] = 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
        values.update(self.log_us)
        quarter = max(1, len(self.rss_mb) // 4)
        values["rss_max_mb"] = max(self.rss_mb)
        values["rss_first_quarter_mb"] = statistics.median(self.rss_mb[:quarter])
        values["rss_last_quarter_mb"] = statistics.median(self.rss_mb[-quarter:])
        values["rows_exact"] = self.rows_exact
        return values

    def _of_agents(self, values: dict[str, float | bool]) -> dict[str, float]:
        """How agents that carry eight producers each compare with the same producers directly."""
        cpu = "service_cpu_s_per_million_points"
        return {
            f"agents_ratio_{AGENTS.name}": values[f"ratio_{AGENTS.name}"],
            "agent_service_cpu_ratio": values[f"{cpu}_{AGENTS.name}"] / values[f"{cpu}_{DIRECT.name}"],
        }

    def print(self, console: Console) -> None:
        """The table, with what each figure should be."""
        values = self._values()
        table = Table("what", "measured", "aim", title="runstream bench", title_justify="left")
        for column in table.columns[1:]:
            column.justify = "right"
        for name in self.pairs:
            table.add_row(f"raw COPY, rows of {name}", f"{values[f'raw_copy_points_per_s_{name}']:,.0f} points/s", "")
            table.add_row(
                f"service, {name}, acked after commit", f"{values[f'ingest_points_per_s_{name}']:,.0f} points/s", ""
            )
            table.add_row("    of raw COPY in the same pair", f"{values[f'ratio_{name}']:.2f}", _AIMS[name])
            for label, key, unit in _USAGE:
                table.add_row(f"    {label}", f"{values[f'{key}_{name}']:,.2f} {unit}", "")
        table.add_row("CPU of the service, agents to direct", f"{values['agent_service_cpu_ratio']:.2f}", "<= 0.5")
        table.add_row("metrics, of the CPU of the service", f"{100 * values['metrics_cpu_share']:.1f} %", "< 3 %")
        table.add_row("ack latency, light load, p50", f"{values['ack_p50_ms_light']:.1f} ms", "")
        table.add_row("ack latency, light load, p99", f"{values['ack_p99_ms_light']:.1f} ms", "< 50 ms")
        table.add_row("log() of 1 metric, median", f"{values['log_us_median_1']:.2f} µs", "<= 3 µs")
        table.add_row("log() of 10 metrics, median", f"{values['log_us_median_10']:.2f} µs", "<= 10 µs")
        table.add_row("memory of the service, most", f"{values['rss_max_mb']:.0f} MB", "< 400 MB")
        table.add_row("table holds exactly the acked points", "yes" if self.rows_exact else "NO", "yes")
        console.print(table)


_USAGE = (
    ("CPU of the service", "service_cpu_s_per_million_points", "s/million points"),
    ("CPU of PostgreSQL", "postgres_cpu_s_per_million_points", "s/million points"),
    ("its log (WAL)", "wal_bytes_per_point", "bytes/point"),
    ("in a group commit", "points_per_commit", "points"),
)
_AIMS = {DIRECT.name: ">= 0.95", AGENTS.name: ">= 1.5", "20x1000": ">= 2"}


def _usage(pairs: list[Pair]) -> dict[str, float]:
    """The usage of ingest alone: nothing is rolled up in the meantime."""
    rounds = [{**pair.usage.per_point(pair.points), "points_per_commit": pair.points / pair.commits} for pair in pairs]
    return {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}


def as_json(values: Mapping[str, Any]) -> str:
    """A report as one line of JSON, with three digits after the point, or none above a thousand."""
    return json.dumps({key: _rounded(value) for key, value in values.items()})


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return round(value) if value > 1000 else round(value, 3)
