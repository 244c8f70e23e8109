"""The dashboard of the service, from Prometheus: its variables, and its rows."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models.dashboard import (
    VariableOption,
    VariableRefresh,
)

from grafana.parts import PROMETHEUS, SERVICE_UID, Row, good_from, page, source, thresholds
from grafana.prometheus_panels import firing, greatest, metric, number, rate, total, versions
from grafana.service_ingest import GROUP_COMMITS, INGEST
from grafana.service_requests import PROCESSES, REQUESTS
from grafana.service_storage import DATABASE, ROLL_UP


def service() -> build.Dashboard:
    """The health of the service, from Prometheus."""
    made = page(
        "runstream: service",
        SERVICE_UID,
        "Is the service healthy, and if it is slow, what is the limit? From Prometheus.",
    )
    made = made.time("now-1h", "now").refresh("30s").with_variable(source("prometheus"))
    where = ""
    for name in ("namespace", "job", "instance"):
        made = made.with_variable(
            build.QueryVariable(name)
            .label(name.capitalize())
            .datasource(PROMETHEUS)
            .query(f"label_values(runstream_build_info{{{where}}}, {name})")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*")  # also where there is no such label: without Kubernetes there is no namespace
            .current(VariableOption(selected=True, text="All", value="$__all"))
        )
        where = ", ".join(filter(None, (where, f'{name}=~"${name}"')))
    for title, panels in ROWS:
        made = made.with_row(build.Row(title))
        for panel in panels:
            made = made.with_panel(panel)
    return made


NOW: Row = (
    "Now",
    [
        number(
            "Replicas ready",
            "Replicas whose /readyz answers 200. If there are fewer than you run, look at their /readyz, which says "
            "what fails. With none, clients keep their points until one is back.",
            (total("runstream_ready"), "ready"),
            "none",
            good_from(1),
            alert="RunstreamNotReady",
        ),
        number(
            "PostgreSQL answers",
            "1 while PostgreSQL answers at least one replica. 0: nothing is stored or read; streams wait.",
            (greatest("runstream_database_up"), "{{namespace}} {{job}}"),
            "none",
            good_from(1),
            alert="RunstreamDatabaseAway",
        ),
        number(
            "Points committed a second",
            "Points that were stored, each once, over all replicas.",
            (rate("runstream_points_committed_total"), "points"),
            "cps",
            thresholds(),
        ),
        number(
            "Oldest waiting batch",
            "How long the oldest batch has waited for its commit. Normally well below a second; it "
            "grows while no commit succeeds.",
            (f"max({metric('runstream_queue_oldest_seconds')})", "age"),
            "s",
            thresholds(yellow=10, red=60),
            alert="RunstreamCommitsStuck",
        ),
        number(
            "Roll-up lag",
            "Age of the oldest point that reads still take from hot batches. About --epoch-seconds, 60, is normal.",
            (greatest("runstream_rollup_lag_seconds"), "{{namespace}} {{job}}"),
            "s",
            thresholds(yellow=300, red=600),
            alert="RunstreamRollupBehind",
        ),
        number(
            "Acknowledged batches lost",
            "In the time range shown. If it is not 0, the database was restored, or failed over "
            "to a standby that was not synchronous. Clients count these batches, too.",
            (f"sum(increase({metric('runstream_batches_lost_total')}[$__range]))", "batches"),
            "none",
            thresholds(red=1),
            alert="RunstreamAcknowledgedBatchesLost",
        ),
        number(
            "Workers that serve",
            "Processes of all replicas (--workers). Fewer than you run: the log says why one ended (worker_ended).",
            (total("runstream_workers"), "workers"),
            "none",
            good_from(1),
            alert="RunstreamWorkersReplaced",
        ),
        firing(),
        versions(),
    ],
)

ROWS = (NOW, INGEST, GROUP_COMMITS, DATABASE, ROLL_UP, REQUESTS, PROCESSES)
