"""Panels of the dashboard of the service: requests, tails, deletion, and what processes use."""

from __future__ import annotations

from grafana.parts import Row, thresholds
from grafana.prometheus_panels import graph, metric, number, quantile, rate, total

OF_HTTP = ('route!="/readyz"',)  # which answers 503 on purpose
HTTP_FAULTS = (*OF_HTTP, 'status=~"5.."')
FAULTS = ('code=~"INTERNAL|UNKNOWN|UNAVAILABLE"',)


REQUESTS: Row = (
    "Requests",
    [
        number(
            "HTTP requests that fail",
            "Share of requests that got a status of 500 or above, /readyz excepted.",
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
            "Share of calls that ended with INTERNAL, UNKNOWN or UNAVAILABLE; ingest streams are not counted.",
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
            "By method, route and status. 429 is back pressure; 503 means that the database cannot be reached.",
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
            "HTTP: 95th percentile of the time to answer",
            "By route. If one route is slow, its statements are. If all are slow: PostgreSQL, the pool, or the "
            "CPU of the replica.",
            [(quantile(0.95, "runstream_http_request_seconds", "method", "route"), "{{method}} {{route}}")],
            "s",
            width=12,
        ),
        graph(
            "Delay of the event loop, 99th percentile",
            "Acknowledgements, probes and everything else wait this long. Some milliseconds are normal. If it is "
            "more, the replica has too little CPU, or a request takes long to read; then please report it.",
            [(quantile(0.99, "runstream_event_loop_delay_seconds", "pod"), "{{pod}}")],
            "s",
            width=12,
        ),
        graph(
            "Workers that were replaced",
            "Within 15 minutes, by reason. Their clients reconnect to other workers. Normally there are none.",
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
            "Time until TLS certificates expire",
            "The certificate of the service, and the authorities of clients, by replica. Below two weeks, it was "
            "not renewed; below zero, nobody can connect. Without TLS there is no line.",
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
            "Failed TLS handshakes",
            "Handshakes over HTTP within 5 minutes, by reason, and replicas whose files cannot be used. A peak "
            "after a replacement means that clients do not trust the new certificate. plaintext: clients have "
            "http:// in their URI.",
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
            "By reason: no valid token, too low a role, or a workspace that the caller may not enter. A sudden "
            "rise is often an expired token; `runstream audit --all` shows who calls.",
            [(rate("runstream_refused_calls_total", "reason"), "{{reason}}")],
            "reqps",
            alert="RunstreamRefusedCalls",
            width=12,
        ),
        graph(
            "Workspaces at their limits",
            "Refusals a second, and the share of the time in which points wait for a limit of points per second. "
            "`runstream workspace limits` shows and changes them. Nothing is lost, but the jobs of the workspace wait.",
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
            "gRPC: 95th percentile of the time to answer",
            "By method; streams are not measured.",
            [(quantile(0.95, "runstream_grpc_request_seconds", "method"), "{{method}}")],
            "s",
            width=12,
        ),
    ],
)

PROCESSES: Row = (
    "Tails, deletion and processes",
    [
        graph(
            "Tails",
            "Streams that follow runs live, and how often one was too slow for its points.",
            [
                (total("runstream_tail_streams"), "open"),
                (rate("runstream_tail_fell_behind_total"), "fell behind, a second"),
            ],
            "short",
        ),
        graph(
            "Points to tails a second",
            "Over all tails. If it falls to zero while tails are open, nothing is committed, or reading commits fails.",
            [(rate("runstream_tail_points_total"), "points")],
            "cps",
        ),
        graph(
            "Open pages",
            "Streams of events to pages in browsers, the runs that they show live, and how often a page had to "
            "read everything again. Many resets: pages are too slow for their events, or replicas restart.",
            [
                (total("runstream_event_streams"), "streams"),
                (total("runstream_event_feeds"), "runs"),
                (rate("runstream_event_resets_total"), "resets, a second"),
            ],
            "short",
        ),
        graph(
            "Reading new commits for tails",
            "One read serves all tails of a replica; points reach them at least this much later.",
            [(quantile(0.95, "runstream_tail_poll_seconds"), "95 %")],
            "s",
        ),
        graph(
            "Deletion",
            "Series and runs that were deleted for good, and steps of purge and retention that failed and are "
            "tried again.",
            [
                (rate("runstream_purged_series_total"), "series"),
                (rate("runstream_purged_runs_total"), "runs"),
                (rate("runstream_retention_failures_total", "step"), "failed: {{step}}"),
            ],
            "cps",
        ),
        graph(
            "Silent runs",
            "Runs that were ended as KILLED because their producers were gone for --silent-run-after. Many at "
            "once: a cluster was lost, or cannot reach the service. A run whose producer comes back runs again.",
            [
                (rate("runstream_silent_runs_total"), "runs"),
                (rate("runstream_silent_run_failures_total"), "failed rounds"),
            ],
            "cps",
        ),
        graph(
            "CPU",
            "Cores that each replica uses. At 1 for each worker, the event loops are the limit: more replicas or "
            "workers help, unless PostgreSQL is the limit.",
            [(f"rate({metric('process_cpu_seconds_total')}[$__rate_interval])", "{{instance}}")],
            "short",
            levels=thresholds(red=0.9),
        ),
        graph(
            "Memory",
            "Resident memory. It is bounded by --max-queued-points, --max-streams and the size of reads.",
            [(metric("process_resident_memory_bytes"), "{{instance}}")],
            "bytes",
        ),
    ],
)
