"""Panels of the dashboard of the service: the database, and roll-up."""

from __future__ import annotations

from grafana.parts import Row, thresholds
from grafana.prometheus_panels import graph, greatest, mean, metric, quantile, rate

DATABASE: Row = (
    "Database",
    [
        graph(
            "Connections of the pools in use",
            "Share of the most that a worker opens, for reads and for other calls. At 100 %, calls wait.",
            [
                (
                    f"{metric('runstream_database_pool_connections_in_use')}"
                    f" / {metric('runstream_database_pool_capacity_connections')}",
                    "{{instance}} {{pool}}",
                )
            ],
            "percentunit",
            alert="RunstreamPoolExhausted",
            levels=thresholds(red=0.9),
        ),
        graph(
            "Size of the database",
            "On disk. Its slope shows when the disk will be full.",
            [(greatest("runstream_database_bytes"), "{{namespace}} {{job}}")],
            "bytes",
            alert="RunstreamDatabaseDiskFull",
        ),
        graph(
            "Size of hot batches and segments",
            "With their indexes. If hot batches keep growing, roll-up does not keep up.",
            [(f"max by (table) ({metric('runstream_table_bytes')})", "{{table}}")],
            "bytes",
            alert="RunstreamRollupBehind",
        ),
    ],
)

ROLL_UP: Row = (
    "Roll-up",
    [
        graph(
            "Lag in time",
            "Age of the oldest point that reads still take from hot batches.",
            [(greatest("runstream_rollup_lag_seconds"), "{{namespace}} {{job}}")],
            "s",
            alert="RunstreamRollupBehind",
            levels=thresholds(red=600),
        ),
        graph(
            "Lag in points",
            "Points in hot batches. A sawtooth: it rises with ingest, and falls with each epoch.",
            [(greatest("runstream_rollup_lag_points"), "{{namespace}} {{job}}")],
            "short",
            alert="RunstreamRollupBehind",
        ),
        graph(
            "Points that cannot be dropped",
            "They are in segments, but a long transaction on the database keeps their batches on disk.",
            [(greatest("runstream_rollup_overdue_points"), "{{namespace}} {{job}}")],
            "short",
            alert="RunstreamHotBatchesKept",
        ),
        graph(
            "Epochs that are kept",
            "Closed for writing, rolled up, and not dropped yet: they wait for reads that began before. "
            "If there are many, something reads for very long, or dropping fails.",
            [
                (
                    f"{greatest('runstream_rollup_visible_epoch')} - {greatest('runstream_rollup_dropped_epoch')}",
                    "{{namespace}} {{job}}",
                )
            ],
            "short",
        ),
        graph(
            "Points rolled up a second",
            "If it stays below what is committed, roll-up falls behind.",
            [
                (rate("runstream_rollup_points_total"), "rolled up"),
                (rate("runstream_points_committed_total"), "committed"),
            ],
            "cps",
            alert="RunstreamRollupBehind",
        ),
        graph(
            "Rolling up one epoch",
            "Two million points take a second or two of one connection.",
            [(quantile(0.95, "runstream_rollup_seconds"), "95 %"), (mean("runstream_rollup_seconds"), "mean")],
            "s",
        ),
        graph(
            "Failed steps a second",
            "By step and error; they are tried again. Occasional deadlocks and lock timeouts are harmless.",
            [(rate("runstream_rollup_failures_total", "step", "error"), "{{step}}: {{error}}")],
            "cps",
        ),
    ],
)
