"""docs/sizing.md adds up with the settings and the chart as they are."""

from __future__ import annotations

import yaml

from runstream_service.server.pool_shares import connections_of_replica
from runstream_service.server.settings import OPTIONS
from tests.deploy.chart import CHART
from tests.support.markdown import ROOT, table_of

SIZING = ROOT / "docs" / "sizing.md"
DEFAULT = {option.flag: option.default for option in OPTIONS}
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
WORKED_OUT = {row[0]: row[1:] for row in table_of(SIZING, "load")}
UNITS = {"Mi": 2**20, "Gi": 2**30}

FOR_SUPERUSERS = 3  # PostgreSQL's superuser_reserved_connections
# Bytes: a replica, each of its workers, roll-up and reads.
BASE, A_WORKER, ROLLUP = 100e6, 60e3, 200e6


def numbers(row: str) -> list[float]:
    return [float(cell.split()[0].replace(",", "")) for cell in WORKED_OUT[row]]


def memory(quantity: str) -> int:
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def test_the_connections_are_those_of_the_default_settings() -> None:
    each = connections_of_replica(
        workers=int(DEFAULT["--workers"]), pool_size=int(DEFAULT["--pool-size"]), writers=int(DEFAULT["--writers"])
    )
    assert numbers("connections of the replicas") == [count * each for count in numbers("replicas")]
    rolling = [connections + each + FOR_SUPERUSERS for connections in numbers("connections of the replicas")]
    assert numbers("max_connections, at least") == rolling


def test_the_requests_are_those_of_the_chart() -> None:
    requested = [count * float(VALUES["resources"]["requests"]["cpu"]) for count in numbers("replicas")]
    assert numbers("requests of CPU, all replicas") == requested
    used = numbers("CPU of the service, all replicas")
    assert max(cpu / cores for cpu, cores in zip(used, requested, strict=True)) <= 0.7


def test_the_memory_of_the_chart_holds_the_workers_that_it_says() -> None:
    resources = VALUES["resources"]
    assert memory(resources["requests"]["memory"]) >= BASE + ROLLUP + 3_500 * A_WORKER
    assert BASE + ROLLUP + int(DEFAULT["--max-streams"]) * A_WORKER <= memory(resources["limits"]["memory"])


def test_hot_points_of_the_default_epoch_fit_below_the_bound() -> None:
    assert 3 * int(DEFAULT["--epoch-points"]) <= int(DEFAULT["--hot-points-max"])
