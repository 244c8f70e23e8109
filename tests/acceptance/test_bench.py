"""The benchmark prints all figures, and checks that exactly the acknowledged points are stored."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from runstream_bench.load import Load, push
from runstream_bench.tls_cost import requests_during
from tests.support import bench_program, preloaded
from tests.support.clusters import template
from tests.support.serve import COMMAND, ServeProcess, command_environment

USAGE = (
    "service_cpu_s_per_million_points",
    "postgres_cpu_s_per_million_points",
    "wal_bytes_per_point",
    "points_per_commit",
)
KEYS = {
    "raw_copy_points_per_s",
    "ingest_points_per_s_200x250",
    "ratio_200x250",
    "ingest_points_per_s_20x1000",
    "ratio_20x1000",
    "agents_ratio_25x8x250",
    "agent_service_cpu_ratio",
    "ack_p99_ms_light",
    "log_us_median_1",
    "log_us_median_10",
    "rss_max_mb",
    *(f"{key}_{load}" for key in USAGE for load in ("200x250", "20x1000")),
    "scrape_cpu_ms",
}


WORKERS_KEYS = {
    "points_per_s",
    "commits_per_s",
    "ack_p99_ms",
    "service_cpu_cores",
    "postgres_cpu_cores",
    "wal_bytes_per_point",
    "page_bytes_per_point",
    "hot_bytes_per_point",
}


CLIENT_KEYS = {
    *(f"log_us_{figure}{place}" for figure in ("median", "p999") for place in ("", "_service_down", "_slow_disk")),
    *(f"step_ms_{service}" for service in ("up", "down", "flapping")),
    "drain_points_per_s",
    "agent_drain_points_per_s",
    "agent_rss_mb",
    "import_ms",
    "start_run_ms",
}


def bench(*options: str, fresh: bool = False) -> dict[str, Any]:
    """Runs a benchmark. `fresh`: all its processes import what they need, and it makes its PostgreSQL, as for users."""
    environment = command_environment()
    if fresh:
        command = [*COMMAND, "bench", "--json", *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    else:
        template()
        command = [*bench_program.COMMAND, "--json", *options]
        done = preloaded.run(command, environment, cwd=Path.cwd(), timeout_s=280)
    assert done.returncode == 0, done.stderr
    values: dict[str, Any] = json.loads(done.stdout)
    assert values["rows_exact"] is True
    return values


def test_bench_prints_one_json_object_and_every_acknowledged_point_is_stored_once() -> None:
    values = bench("--seconds", "0.2", "--pairs", "1", "--scale", "0.1")
    assert {key for key in KEYS if not values[key] > 0} == set()
    assert 0 < values["metrics_cpu_share"] < 0.03


def test_bench_says_what_training_workers_take_until_their_points_are_rolled_up_and_merged() -> None:
    values = bench("--workers", "20", "--seconds", "1.5", fresh=True)
    assert {key for key in WORKERS_KEYS if not values[key] > 0} == set()
    assert values["wire_bytes_per_point"] > 28  # its four columns


def test_bench_compares_workers_of_the_service_with_one_process() -> None:
    values = bench("--serve-workers", "2", "--seconds", "0.2", "--pairs", "1")
    for figure in ("points_per_s", "service_cpu_s_per_million_points", "load_cpu_s_per_million_points"):
        assert values[f"{figure}_1"] > 0
        assert values[f"{figure}_2"] > 0
    assert values["ratio"] > 0
    assert values["ratio_on_enough_cores"] > 0


def test_bench_compares_tls_with_plaintext() -> None:
    values = bench("--tls", "--seconds", "0.2", "--pairs", "1", "--scale", "0.1")
    for figure in ("points_per_s_200x250", "points_per_s_25x8x250", "new_connections_per_s", "kept_connections_per_s"):
        assert values[f"{figure}_plaintext"] > 0
        assert values[f"{figure}_tls"] > 0
        assert values[f"{figure}_ratio"] > 0


def test_bench_of_faults_counts_every_point_once_and_clients_do_not_notice_a_rolling_restart() -> None:
    values = bench("--faults", "--scale", "0.02", "--only", "rolling", "--only", "killed")
    for name in ("rolling", "killed"):
        assert values[f"{name}_points_stored"] == values[f"{name}_points_logged"] > 0
        assert values[f"{name}_rss_max_mb"] > 0
    assert values["rolling_client_warnings"] == values["rolling_client_errors"] == 0
    assert values["rolling_client_reconnects"] > 0
    assert values["rolling_ack_gap_s"] > 0
    assert values["killed_all_arrived_s"] > 0


def test_bench_of_durability_harms_a_tracker_and_finds_each_point_of_runstream_once(tmp_path: Path) -> None:
    scenarios = ("values", "kill-server", "lost-answers")
    options = ("--durability", "--only", "runstream", "--scale", "0.2", "--keep", str(tmp_path / "results"))
    assert bench(*options, "--scenario", "values")["cells"][0]["scenario"] == "values"
    values = bench(*options, "--scenario", ",".join(scenarios))
    # There is one for each, so the first one was not measured again.
    assert len((tmp_path / "results").read_text().splitlines()) == len(scenarios)
    assert values["not_installed"] == {}
    cells = {cell["scenario"]: cell for cell in values["cells"]}
    assert list(cells) == list(scenarios)
    for cell in cells.values():
        assert cell["counts"]["logged"] > 0
        assert (cell["why"], cell["errors"]) == ("", {})
        assert cell["counts"]["moved"] == 0
    # 14 rows, each of which has 4 metrics.
    assert cells["values"]["counts"]["logged"] == 56
    assert not cells["lost-answers"]["remark"].startswith("0 ")


def test_bench_of_durability_names_a_tracker_or_a_scenario_that_it_does_not_know() -> None:
    for option in ("--only", "--scenario"):
        command = [*COMMAND, "bench", "--durability", option, "runstream,values,sacred"]
        done = subprocess.run(command, env=command_environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert f"Invalid value for '{option}'" in done.stderr


def test_bench_of_the_client_says_what_a_training_process_pays_and_every_point_is_stored_once() -> None:
    values = bench("--client", "--scale", "0.02")
    assert {key for key in CLIENT_KEYS if not values[key] > 0} == set()
    assert {f"step_overhead_percent_{service}" for service in ("up", "down", "flapping")} <= values.keys()
    assert values["threads_more_1"] == values["threads_more_20"] == 1
    assert values["modules"] == []
    assert values["sockets"] == 0
    for peer in ("mlflow_log_metric", "mlflow_log_metric_async", "trackio_log", "wandb_log"):
        assert f"{peer}_us" in values or peer in values["skipped"]


def test_it_says_how_long_acks_of_one_workspace_take_while_another_one_overloads() -> None:
    values = bench("--fairness", "--pairs", "1", "--seconds", "0.4")
    rounds = ("idle", "overload", "same_workspace")
    acks = [f"ack_p{percent}_{figure}_{name}" for percent in (50, 99) for figure in ("ms", "ratio") for name in rounds]
    keys = [f"{kind}{name}" for kind in ("", "slow_database_") for name in ("overload_points_per_s", *acks)]
    assert sorted(values) == sorted(["rows_exact", *keys])
    assert [key for key in keys if not values[key] > 0] == []


def test_it_says_what_open_pages_cost_and_how_late_points_come_to_them() -> None:
    values = bench("--page", "--seconds", "1")
    assert values["pages"] == 200
    times = ("log_to_event_p50_ms", "log_to_event_p99_ms", "events_per_page_s", "cores_with", "cores_without")
    assert [key for key in times if not values[key] > 0] == []


async def test_a_round_that_is_over_at_once_has_samples_all_the_same(serve: ServeProcess) -> None:
    direct = await push(serve.grpc_address, Load(streams=3, batch_points=10), 0.0)
    assert (direct.batches_acknowledged, len(direct.ack_latencies_s)) == ([1] * 3, 3)
    agents = await push(serve.grpc_address, Load(streams=2, producers=3, batch_points=10), 0.0)
    assert (len(agents.batches_acknowledged), len(agents.ack_latencies_s)) == (6, 2)
    assert min(agents.batches_acknowledged) > 0
    for kept in (False, True):
        port = urlsplit(serve.http_url).port or 0
        requests = await requests_during(0.0, port, None, psutil.Process(serve.pid), kept=kept)
        assert requests.count >= 4
        assert requests.cpu_s > 0
