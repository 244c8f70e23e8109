"""A real Prometheus watches the service under load, while the database goes away and comes back: an alert fires and
clears, and every query of the dashboard of the service has data."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import runstream
from runstream_bench.load import Load, push
from runstream_service.database.embedded import EmbeddedPostgres
from runstream_service.ingest.group import SMALL_GROUP_POINTS
from tests.support import grafana
from tests.support.authorities import Authority, SecretMount, channel_credentials
from tests.support.databases import FAST, short_directory
from tests.support.grafana import Query
from tests.support.producers import Producers, assert_exactly_once
from tests.support.prometheus import Prometheus, needs_prometheus, prometheus_of, until
from tests.support.serve import ServeProcess

SERVICE = grafana.dashboard("service")
CHOSEN = {"namespace": ".*", "job": "runstream", "instance": ".*"}

pytestmark = needs_prometheus


@dataclass(frozen=True)
class Watched:
    """The times of the events, and the Prometheus that observed them."""

    prometheus: Prometheus
    begun: float
    fired_before: set[str]
    fired_while_away: set[str]
    oldest_while_away_s: float


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    """Load, the database stops, an alert fires, the database is back, the alert clears, the clients end."""
    with short_directory() as directory:
        postgres = EmbeddedPostgres(directory / "database", options=FAST)
        asyncio.run(postgres.start())
        try:
            yield from _watch(postgres, directory)
        finally:
            asyncio.run(postgres.stop())


def _watch(postgres: EmbeddedPostgres, directory: Path) -> Iterator[Watched]:
    begun = time.time()
    authority, mount = Authority(), SecretMount(directory / "tls")
    mount.put(authority.issue())
    trusted = directory / "ca.pem"
    trusted.write_bytes(authority.pem)
    arguments = ["--database", postgres.url, "--epoch-seconds", "1", "--monitoring-listen", "127.0.0.1:0"]
    with (
        pytest.MonkeyPatch.context() as patch,
        ServeProcess(directory / "data", arguments=[*arguments, *mount.arguments()]) as serve,
        prometheus_of(directory, serve.monitoring_url.removeprefix("http://")) as prometheus,
    ):
        patch.setenv("RUNSTREAM_TLS_CA", str(trusted))
        address = f"grpcs://{serve.grpc_address}"
        environment = {"RUNSTREAM_TLS_CA": str(trusted)}
        with (
            runstream.Client(address) as client,
            Producers(address, 2, 500, environment=environment) as producers,
        ):
            tail = client.tail(producers.run_id)
            next(tail)

            def busy() -> bool:
                client.get_run(producers.run_id)
                return bool(prometheus.query("rate(runstream_points_committed_total[5s]) > 100"))

            until(busy, 30)
            # Groups that are too large for one statement.
            large = Load(streams=1, batch_points=2 * SMALL_GROUP_POINTS, batches=3)
            asyncio.run(push(serve.grpc_address, large, credentials=channel_credentials(authority)))
            fired_before = prometheus.firing()

            asyncio.run(postgres.stop())
            until(lambda: "RunstreamDatabaseAway" in prometheus.firing(), 30)
            fired_while_away = prometheus.firing()
            (oldest,) = prometheus.query("runstream_queue_oldest_seconds")

            asyncio.run(postgres.start())
            until(lambda: prometheus.firing() == set(), 30)
            assert_exactly_once(address, producers.run_id, producers.stop())
        yield Watched(prometheus, begun, fired_before, fired_while_away, float(oldest["value"][1]))


def test_the_alert_of_a_database_that_is_away_fires_and_clears(watched: Watched) -> None:
    assert watched.fired_before == set()
    assert "RunstreamDatabaseAway" in watched.fired_while_away
    assert watched.oldest_while_away_s > 0
    assert watched.prometheus.firing() == set()


@pytest.mark.parametrize("query", grafana.queries_of(SERVICE), ids=lambda query: query.where)
def test_a_query_of_the_dashboard_has_data(watched: Watched, query: Query) -> None:
    expression = query.text.replace("$__rate_interval", "4s").replace("$__range", "1m")
    for name, value in CHOSEN.items():
        expression = expression.replace(f'{name}=~"${name}"', f'{name}=~"{value}"')
    assert "$" not in expression
    until(lambda: watched.prometheus.numbers(expression, watched.begun, time.time()), 60)


def test_the_variables_of_the_dashboard_find_the_service(watched: Watched) -> None:
    found = {}
    for variable in grafana.variables_of(SERVICE):
        asked = re.fullmatch(r"label_values\((.*), (\w+)\)", variable.text)
        assert asked, variable
        selector = re.sub(r"\$(\w+)", lambda name: CHOSEN[name[1]], asked[1])
        found[variable.where] = watched.prometheus.label_values(asked[2], selector)
    assert found["job"] == ["runstream"]
    assert len(found["instance"]) == 1
    assert found["namespace"] == []  # outside of Kubernetes; the value of All matches it
