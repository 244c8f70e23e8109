"""Panels of the dashboard of the service: from streams to commits."""

from __future__ import annotations

from grafana.parts import Row, thresholds
from grafana.prometheus_panels import graph, mean, metric, quantiles, rate

INGEST: Row = (
    "Ingest",
    [
        graph(
            "Points a second",
            "Received over gRPC and HTTP, and committed. If more are received than committed for long, "
            "points are repeated, refused, or wait.",
            [
                (rate("runstream_points_received_total", "protocol"), "received, {{protocol}}"),
                (rate("runstream_points_committed_total"), "committed"),
            ],
            "cps",
            width=12,
        ),
        graph(
            "From log() to commit",
            "Of the oldest point of each batch, if its client says when that was logged. About half a second is "
            "normal: a client waits this long for a batch to fill. If it is more on all replicas, PostgreSQL is "
            "slow, or ingest is held. A short peak of minutes: clients send what they kept during an outage.",
            quantiles("runstream_log_to_commit_seconds"),
            "s",
            levels=thresholds(red=10),
            width=12,
        ),
        graph(
            "Queue, share of its capacity",
            "Points that were read from streams and are not committed yet, as a share of the most that a replica "
            "holds. At 100 %, streams are not read any more, and clients keep their points: PostgreSQL or the "
            "replica is the limit.",
            [(f"{metric('runstream_queue_points')} / {metric('runstream_queue_capacity_points')}", "{{instance}}")],
            "percentunit",
            alert="RunstreamBackPressure",
            levels=thresholds(red=0.8),
        ),
        graph(
            "Points that wait for their commit",
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
            "Refused for good, by reason: they are not stored, and their clients know why. "
            "`database` means a bug of the service, or a changed schema.",
            [(rate("runstream_points_refused_total", "reason"), "{{reason}}")],
            "cps",
            alert="RunstreamPointsRefusedByDatabase",
            stacked=True,
        ),
        graph(
            "Batches sent again, and lost",
            "Duplicates arrive after reconnects and are not stored again; many of them mean that connections "
            "break. Lost batches were acknowledged, and the database does not have them.",
            [
                (rate("runstream_batches_duplicate_total"), "sent again"),
                (rate("runstream_batches_lost_total"), "lost"),
            ],
            "cps",
            alert="RunstreamAcknowledgedBatchesLost",
        ),
        graph(
            "Streams open",
            "By replica, and the most that one accepts (--max-streams); further ones are refused. If replicas differ "
            "much for long, clients gathered on one of them, as they do when others restart.",
            [
                (metric("runstream_streams_open"), "{{instance}}"),
                (metric("runstream_producers_open"), "{{instance}}, producers of these streams"),
                (f"min({metric('runstream_streams_capacity')})", "the most a replica accepts"),
            ],
            "short",
            alert="RunstreamStreamsFull",
        ),
        graph(
            "Streams ended a second",
            "By reason; OK if the client closed it. docs/operations.md lists the reasons. One producer of a stream "
            "may end while the others continue.",
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
            "The share of the time in which the ingest of many points paused, so that reads, and batches of quiet "
            "workspaces, were served first; the sum over all workers of a replica. At the maximum, 50 % for each, "
            "there are reads all the time: with more replicas, or fewer reads, more points would be stored.",
            [(rate("runstream_ingest_pause_seconds_total", "instance"), "{{instance}}")],
            "percentunit",
        ),
    ],
)

GROUP_COMMITS: Row = (
    "Group commits",
    [
        graph(
            "Points in a group",
            "Groups grow with the load, without tuning: what arrives while the writer is busy is "
            "the next group. Groups of single points: there are few clients, or each waits for its answer.",
            [*quantiles("runstream_group_points"), (mean("runstream_group_points"), "mean")],
            "short",
        ),
        graph(
            "Commit of a group",
            "Ledger, COPY and COMMIT together: clients wait at least this long. If it gets slower while groups "
            "stay as large, the cause is the disk of PostgreSQL, or a lock.",
            quantiles("runstream_group_commit_seconds"),
            "s",
            alert="RunstreamCommitsStuck",
        ),
        graph(
            "COPY of a group",
            "Most of a large commit. The rest of it is the ledger, and COMMIT with its fsync.",
            quantiles("runstream_copy_seconds"),
            "s",
        ),
        graph(
            "Encoding of a group",
            "CPU of the replica. If it gets slower while groups stay as large, there is too little CPU.",
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
            "Attempts that failed and are repeated, by error. No points are lost.",
            [(rate("runstream_group_commit_failures_total", "error"), "{{error}}")],
            "cps",
            alert="RunstreamDatabaseDiskFull",
        ),
    ],
)
