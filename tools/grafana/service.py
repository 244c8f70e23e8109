"""The health of the service, from Prometheus."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models.dashboard import (
    VariableOption,
    VariableRefresh,
)

from grafana.parts import PROMETHEUS, SERVICE_UID, AnyPanel, good_from, page, source, thresholds
from grafana.prometheus_panels import (
    firing,
    graph,
    greatest,
    mean,
    metric,
    number,
    quantile,
    quantiles,
    rate,
    total,
    versions,
)


def service() -> build.Dashboard:
    """The health of the service, from Prometheus."""
    made = page(
        "runstream: service", SERVICE_UID, "Is the service well, and if not, what is the limit? From Prometheus."
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
    for title, panels in SERVICE_ROWS:
        made = made.with_row(build.Row(title))
        for panel in panels:
            made = made.with_panel(panel)
    return made


OF_HTTP = ('route!="/readyz"',)  # of which 503 is an honest answer
HTTP_FAULTS = (*OF_HTTP, 'status=~"5.."')
FAULTS = ('code=~"INTERNAL|UNKNOWN|UNAVAILABLE"',)

SERVICE_ROWS: list[tuple[str, list[AnyPanel]]] = [
    (
        "Now",
        [
            number(
                "Replicas ready",
                "Replicas whose /readyz answers 200. Fewer than you run: look at their /readyz, which says in "
                "words what fails. None: clients keep their points until one is back.",
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
                "In the time range shown. Anything but 0: the database was restored, or failed over "
                "to a standby that was not synchronous. Clients count them, too.",
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
    ),
    (
        "Ingest",
        [
            graph(
                "Points a second",
                "Received over gRPC and HTTP, and committed. Received above committed for long: points are "
                "repeated, refused, or wait.",
                [
                    (rate("runstream_points_received_total", "protocol"), "received, {{protocol}}"),
                    (rate("runstream_points_committed_total"), "committed"),
                ],
                "cps",
                width=12,
            ),
            graph(
                "From log() to commit",
                "Of the oldest point of each batch, as far as clients say. About half a second is normal: a client "
                "waits as long for a batch to fill. More on all replicas: PostgreSQL, or ingest is held. Minutes for "
                "a moment: clients bring what they kept while the service was away.",
                quantiles("runstream_log_to_commit_seconds"),
                "s",
                levels=thresholds(red=10),
                width=12,
            ),
            graph(
                "Queue, share of its capacity",
                "Points that were read from streams and are not committed yet, of those that a replica holds at most. "
                "At 100 % streams are not read any more, and clients keep their points: PostgreSQL, or the replica, "
                "is the limit.",
                [(f"{metric('runstream_queue_points')} / {metric('runstream_queue_capacity_points')}", "{{instance}}")],
                "percentunit",
                alert="RunstreamBackPressure",
                levels=thresholds(red=0.8),
            ),
            graph(
                "Points that wait",
                "Points in memory that are not committed yet; each takes about 28 bytes.",
                [
                    (metric("runstream_queue_points"), "{{instance}}"),
                    (f"max({metric('runstream_queue_capacity_points')})", "capacity of a replica"),
                ],
                "short",
                alert="RunstreamBackPressure",
            ),
            graph(
                "Oldest waiting batch",
                "Rises steadily while no commit succeeds, and falls at once with the first one that does.",
                [(metric("runstream_queue_oldest_seconds"), "{{instance}}")],
                "s",
                alert="RunstreamCommitsStuck",
                levels=thresholds(red=60),
            ),
            graph(
                "Points refused a second",
                "For good, by reason; they are not stored, and their clients were told why. "
                "`database` is a bug of the service or a changed schema.",
                [(rate("runstream_points_refused_total", "reason"), "{{reason}}")],
                "cps",
                alert="RunstreamPointsRefusedByDatabase",
                stacked=True,
            ),
            graph(
                "Batches sent again, and lost",
                "Duplicates come after reconnects and are not stored again: many of them, and "
                "connections break. Lost ones were acknowledged once and the database does not know them.",
                [
                    (rate("runstream_batches_duplicate_total"), "sent again"),
                    (rate("runstream_batches_lost_total"), "lost"),
                ],
                "cps",
                alert="RunstreamAcknowledgedBatchesLost",
            ),
            graph(
                "Streams open",
                "By replica, and how many one takes (--max-streams); further ones are refused. Far apart for long: "
                "clients gather on one replica, as after a restart of others.",
                [
                    (metric("runstream_streams_open"), "{{instance}}"),
                    (metric("runstream_producers_open"), "{{instance}}, producers of these streams"),
                    (f"min({metric('runstream_streams_capacity')})", "the most a replica takes"),
                ],
                "short",
                alert="RunstreamStreamsFull",
            ),
            graph(
                "Streams ended a second",
                "By reason; OK if the client closed it. The reasons stand in docs/operations.md. Of a stream of many "
                "producers, one may end while the others go on.",
                [
                    (rate("runstream_streams_ended_total", "reason"), "{{reason}}"),
                    (rate("runstream_producers_ended_total", "reason"), "{{reason}}, one producer"),
                ],
                "cps",
            ),
            graph(
                "Ingest held",
                "1 while ingest waits for roll-up (--hot-points-max).",
                [(metric("runstream_ingest_held"), "{{instance}}")],
                "none",
                alert="RunstreamIngestHeld",
                levels=thresholds(red=1),
            ),
            graph(
                "Ingest pauses",
                "The share of the time in which the ingest of many points paused, so that reads and batches of quiet "
                "workspaces passed; all workers of a replica together. At 50 % for each, the most, there are reads all "
                "the time: with more replicas, or fewer reads, more points would come in.",
                [(rate("runstream_ingest_pause_seconds_total", "instance"), "{{instance}}")],
                "percentunit",
            ),
        ],
    ),
    (
        "Group commits",
        [
            graph(
                "Points in a group",
                "Groups grow with the load, without tuning: whatever came while the writer was busy is "
                "the next group. Single points in each: few clients, or each waits for its answer.",
                [*quantiles("runstream_group_points"), (mean("runstream_group_points"), "mean")],
                "short",
            ),
            graph(
                "Commit of a group",
                "Ledger, COPY and COMMIT together. What clients wait for, at least. Slower at the same "
                "size of groups: the disk of PostgreSQL, or a lock.",
                quantiles("runstream_group_commit_seconds"),
                "s",
                alert="RunstreamCommitsStuck",
            ),
            graph(
                "COPY of a group",
                "Most of a large commit. What is not COPY is the ledger and COMMIT, which is the fsync.",
                quantiles("runstream_copy_seconds"),
                "s",
            ),
            graph(
                "Encoding of a group",
                "CPU of the replica. Slower at the same size of groups: too little CPU.",
                quantiles("runstream_encode_seconds"),
                "s",
            ),
            graph(
                "Commits a second",
                "Groups over all replicas.",
                [(rate("runstream_group_commit_seconds_count"), "groups")],
                "cps",
            ),
            graph(
                "Failed commits a second",
                "Tries that failed and are repeated, by error. Nothing is lost by them.",
                [(rate("runstream_group_commit_failures_total", "error"), "{{error}}")],
                "cps",
                alert="RunstreamDatabaseDiskFull",
            ),
        ],
    ),
    (
        "Database",
        [
            graph(
                "Connections of the pools in use",
                "Of the most that a worker opens, for reads and for other calls. At 100 %, they wait. Not of streams.",
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
                "On disk. Its slope says when the disk is full.",
                [(greatest("runstream_database_bytes"), "{{namespace}} {{job}}")],
                "bytes",
                alert="RunstreamDatabaseDiskFull",
            ),
            graph(
                "Size of hot batches and segments",
                "With their indexes. Hot batches that grow on and on: roll-up does not keep up.",
                [(f"max by (table) ({metric('runstream_table_bytes')})", "{{table}}")],
                "bytes",
                alert="RunstreamRollupBehind",
            ),
        ],
    ),
    (
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
                "Points in hot batches. A saw: up with ingest, down with each epoch.",
                [(greatest("runstream_rollup_lag_points"), "{{namespace}} {{job}}")],
                "short",
                alert="RunstreamRollupBehind",
            ),
            graph(
                "Points that cannot be dropped",
                "They are in segments, but somebody's long transaction keeps their batches on the disk.",
                [(greatest("runstream_rollup_overdue_points"), "{{namespace}} {{job}}")],
                "short",
                alert="RunstreamHotBatchesKept",
            ),
            graph(
                "Epochs that are kept",
                "Closed for writing, rolled up, and not dropped yet: they wait for reads that began before. "
                "Many: something reads for very long, or dropping fails.",
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
                "Below the committed ones for long: roll-up falls behind.",
                [
                    (rate("runstream_rollup_points_total"), "rolled up"),
                    (rate("runstream_points_committed_total"), "committed"),
                ],
                "cps",
                alert="RunstreamRollupBehind",
            ),
            graph(
                "Rolling up one epoch",
                "Two million points take about a second or two of one connection.",
                [(quantile(0.95, "runstream_rollup_seconds"), "95 %"), (mean("runstream_rollup_seconds"), "mean")],
                "s",
            ),
            graph(
                "Failed steps a second",
                "By step and error; they are tried again. Deadlocks and lock timeouts now and then are harmless.",
                [(rate("runstream_rollup_failures_total", "step", "error"), "{{step}}: {{error}}")],
                "cps",
            ),
        ],
    ),
    (
        "Requests",
        [
            number(
                "HTTP requests that fail",
                "Share with a status from 500 on, without /readyz.",
                (
                    f"({rate('runstream_http_requests_total', where=HTTP_FAULTS)} or vector(0))"
                    f" / {rate('runstream_http_requests_total', where=OF_HTTP)}",
                    "share",
                ),
                "percentunit",
                thresholds(yellow=0.01, red=0.05),
                alert="RunstreamErrors",
                width=12,
            ),
            number(
                "gRPC calls that fail",
                "Share that ended with INTERNAL, UNKNOWN or UNAVAILABLE; without ingest streams.",
                (
                    f"({rate('runstream_grpc_requests_total', where=FAULTS)} or vector(0))"
                    f" / {rate('runstream_grpc_requests_total')}",
                    "share",
                ),
                "percentunit",
                thresholds(yellow=0.01, red=0.05),
                alert="RunstreamErrors",
                width=12,
            ),
            graph(
                "HTTP requests a second",
                "By method, route and status. 429 is back pressure, 503 a database that is away.",
                [
                    (
                        rate("runstream_http_requests_total", "method", "route", "status"),
                        "{{method}} {{route}} {{status}}",
                    )
                ],
                "reqps",
                width=12,
            ),
            graph(
                "HTTP: 95 % are answered within",
                "By route. One slow route: its statements. All of them: PostgreSQL, the pool, or the CPU of the "
                "replica.",
                [(quantile(0.95, "runstream_http_request_seconds", "method", "route"), "{{method}} {{route}}")],
                "s",
                width=12,
            ),
            graph(
                "Event loop: 99 % of its turns are late by",
                "Acknowledgements, probes and all else wait as long. Some milliseconds are normal. More: too little "
                "CPU for the replica, or a request that takes long to read; then please report it.",
                [(quantile(0.99, "runstream_event_loop_delay_seconds", "pod"), "{{pod}}")],
                "s",
                width=12,
            ),
            graph(
                "Workers that were replaced",
                "Within 15 minutes, by reason. Their clients reconnect to others. None is normal.",
                [
                    (
                        f"sum by (reason) (increase({metric('runstream_workers_replaced_total')}[15m]))",
                        "{{reason}}",
                    )
                ],
                "none",
                alert="RunstreamWorkersReplaced",
                width=12,
            ),
            graph(
                "Certificates of TLS expire in",
                "The certificate of the service, and the authorities of clients, by replica. Falls below two weeks: it "
                "was not renewed. Below zero: nobody can connect. Nothing without TLS.",
                [
                    (
                        f"min by (certificate, instance) "
                        f"({metric('runstream_tls_certificate_expiry_timestamp_seconds')}) - time()",
                        "{{certificate}} {{instance}}",
                    )
                ],
                "s",
                alert="RunstreamCertificateExpires",
                width=12,
            ),
            graph(
                "TLS that fails",
                "Handshakes over HTTP within 5 minutes, by reason, and replicas whose files cannot be used. A peak "
                "after a replacement: clients do not trust the new certificate. plaintext: clients with http:// in "
                "their URI.",
                [
                    (
                        f"sum by (reason) (increase({metric('runstream_tls_handshakes_failed_total')}[5m]))",
                        "{{reason}}",
                    ),
                    (
                        f"sum by (result) (increase({metric('runstream_tls_reloads_total')}[5m]))",
                        "files {{result}}",
                    ),
                    (total("runstream_tls_files_refused"), "files refused"),
                ],
                "none",
                alert="RunstreamCertificateNotReloaded",
                width=12,
            ),
            graph(
                "Calls refused a second",
                "By reason: no valid token, too low a role, or a workspace that the caller may not enter. A step up is "
                "often a token that has expired; `runstream audit --all` says who calls.",
                [(rate("runstream_refused_calls_total", "reason"), "{{reason}}")],
                "reqps",
                alert="RunstreamRefusedCalls",
                width=12,
            ),
            graph(
                "Workspaces at their limits",
                "Refusals a second, and the part of the time in which points wait for a limit of points per second; "
                "runstream workspace limits shows and changes them. Nothing is lost, but the jobs of a workspace wait.",
                [
                    (rate("runstream_limit_refusals_total", "limit"), "{{limit}} refused"),
                    (rate("runstream_limit_wait_seconds_total", "limit"), "{{limit}} waits"),
                ],
                "none",
                alert="RunstreamWorkspaceLimited",
                width=12,
            ),
            graph(
                "gRPC calls a second",
                "By method and status code.",
                [(rate("runstream_grpc_requests_total", "method", "code"), "{{method}} {{code}}")],
                "reqps",
                width=12,
            ),
            graph(
                "gRPC: 95 % are answered within",
                "By method; streams have no time of their own.",
                [(quantile(0.95, "runstream_grpc_request_seconds", "method"), "{{method}}")],
                "s",
                width=12,
            ),
        ],
    ),
    (
        "Tails, deletion and processes",
        [
            graph(
                "Tails",
                "Streams that follow runs live, and how often one was slower than its points.",
                [
                    (total("runstream_tail_streams"), "open"),
                    (rate("runstream_tail_fell_behind_total"), "fell behind, a second"),
                ],
                "short",
            ),
            graph(
                "Points to tails a second",
                "Over all tails. Falls to nothing while tails are open: nothing is committed, or reading commits "
                "fails.",
                [(rate("runstream_tail_points_total"), "points")],
                "cps",
            ),
            graph(
                "Open pages",
                "Streams of events to pages in browsers, the runs that they show live, and how often a page had to ask "
                "for everything again. Many resets: pages are slower than their events, or replicas restart.",
                [
                    (total("runstream_event_streams"), "streams"),
                    (total("runstream_event_feeds"), "runs"),
                    (rate("runstream_event_resets_total"), "resets, a second"),
                ],
                "short",
            ),
            graph(
                "Reading new commits for tails",
                "For all tails of a replica at once; what they are late by, at least.",
                [(quantile(0.95, "runstream_tail_poll_seconds"), "95 %")],
                "s",
            ),
            graph(
                "Deletion",
                "Series and runs that are gone for good, and steps of purge and retention that failed and are tried "
                "again.",
                [
                    (rate("runstream_purged_series_total"), "series"),
                    (rate("runstream_purged_runs_total"), "runs"),
                    (rate("runstream_retention_failures_total", "step"), "failed: {{step}}"),
                ],
                "cps",
            ),
            graph(
                "Silent runs",
                "Runs that were ended as KILLED, since their producers were gone for --silent-run-after. Many at once: "
                "a cluster was lost, or cannot reach the service. They run again when their producers come back.",
                [
                    (rate("runstream_silent_runs_total"), "runs"),
                    (rate("runstream_silent_run_failures_total"), "failed rounds"),
                ],
                "cps",
            ),
            graph(
                "CPU",
                "Cores that each replica uses. At 1 for each worker, event loops are the limit: more replicas or "
                "workers help, if PostgreSQL is not.",
                [(f"rate({metric('process_cpu_seconds_total')}[$__rate_interval])", "{{instance}}")],
                "short",
                levels=thresholds(red=0.9),
            ),
            graph(
                "Memory",
                "Resident. Bounded by --max-queued-points, --max-streams and the size of reads.",
                [(metric("process_resident_memory_bytes"), "{{instance}}")],
                "bytes",
            ),
        ],
    ),
]
