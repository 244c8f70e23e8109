"""The alerts: valid, tested, each with a runbook that works; and a real Prometheus that fires and clears one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

from runstream_service.settings import OPTIONS
from runstream_service.storage.embedded import EmbeddedPostgres
from tests.support.databases import FAST, short_directory
from tests.support.markdown import ROOT, blocks_of, table_of
from tests.support.producers import Producers, assert_exactly_once
from tests.support.serve import ServeProcess

MONITORING = ROOT / "deploy" / "monitoring"
RULES, RULE_TESTS = MONITORING / "alerts.yml", MONITORING / "alerts.test.yml"
RUNBOOKS = sorted((MONITORING / "runbooks").glob("*.md"))
OPERATIONS, CLIENT = ROOT / "docs" / "operations.md", ROOT / "docs" / "client.md"

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is missing")
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is missing")


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def metrics_named_in(text: str) -> set[str]:
    """Names of ours; a histogram's series count as the histogram."""
    names = re.findall(r"\brunstream_\w+", text)
    return {re.sub(r"(_seconds|_points)_(bucket|sum|count)$", r"\1", name) for name in names}


# -- rules -------------------------------------------------------------------------------------------------------------


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "--lint-fatal", str(RULES)), ("test", "rules", str(RULE_TESTS))],
    ids=["in the rules", "in their tests"],
)
def test_promtool_finds_nothing(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_test_and_words_for_who_is_woken() -> None:
    tested = set(re.findall(r'alertname="(\w+)"', RULE_TESTS.read_text()))
    assert {alert["alert"] for alert in alerts()} == tested
    for alert in alerts():
        assert alert["labels"].keys() == {"severity"}
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert alert["annotations"].keys() == {"summary", "description", "runbook"}


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    assert {alert["alert"]: alert["annotations"]["runbook"] for alert in alerts()} == {
        path.stem: str(path.relative_to(ROOT)) for path in RUNBOOKS
    }


def test_the_table_of_alerts_has_every_alert() -> None:
    documented = {row[0]: row[1] for row in table_of(OPERATIONS, "alert")}
    assert documented == {alert["alert"]: alert["labels"]["severity"] for alert in alerts()}


def test_rules_and_runbooks_name_only_metrics_that_the_service_has() -> None:
    """The table is the same as /metrics: tests/acceptance/test_documents.py."""
    known = {row[0] for row in table_of(OPERATIONS, "name")}
    expressions = "\n".join(alert["expr"] for alert in alerts())
    assert metrics_named_in(expressions) <= known
    assert metrics_named_in("\n".join(path.read_text() for path in RUNBOOKS)) <= known


# -- runbooks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_says_what_it_means_and_what_to_do(runbook: Path) -> None:
    text = runbook.read_text()
    assert text.startswith(f"# {runbook.stem}\n")
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
    assert blocks_of(runbook)
    assert set(re.findall(r"\bRunstream[A-Z]\w+", text)) <= {path.stem for path in RUNBOOKS}
    variables = {option.variable for option in OPTIONS} | {row[0] for row in table_of(CLIENT, "variable")}
    assert set(re.findall(r"\bRUNSTREAM_[A-Z_]+", text)) <= variables


def test_log_actions_that_runbooks_look_for_exist() -> None:
    known = {row[0] for row in table_of(OPERATIONS, "action")}
    for runbook in RUNBOOKS:
        for pattern in re.findall(r"kubectl logs .*\| grep '?([\w\\|]+)", runbook.read_text()):
            assert set(pattern.split(r"\|")) <= known, runbook.name


async def test_sql_of_the_runbooks_runs(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        statements = [
            found
            for runbook in RUNBOOKS
            for block in blocks_of(runbook)
            for _, found in re.findall(r"""psql "\$RUNSTREAM_DATABASE" -c (["'])(.*)\1""", block.text)
            if not found.startswith("\\")
        ]
        assert len(statements) > 10
        for statement in statements:
            await connection.fetch(statement)
    finally:
        await connection.close()


# -- end to end --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prometheus:
    """A real one."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{query}", timeout=5) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return result

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        return {sample["metric"]["alertname"] for sample in self.query('ALERTS{alertstate="firing"}')}


@contextlib.contextmanager
def prometheus_of(directory: Path, target: str) -> Iterator[Prometheus]:
    """Scrapes one service every second; its rules are ours but for their patience."""
    (directory / "alerts.yml").write_text(re.sub(r"\bfor: \w+", "for: 2s", RULES.read_text()))
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": [{"job_name": "runstream", "static_configs": [{"targets": [target]}]}],
    }
    (directory / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    log = directory / "prometheus.log"
    command = [
        "prometheus",
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        listening = until(lambda: re.search(r'"Listening on" address=(\S+)', log.read_text()), 20)
        prometheus = Prometheus(f"http://{listening[1]}")
        until(lambda: "Server is ready" in log.read_text(), 20)
        yield prometheus
    finally:
        process.terminate()
        process.wait(10)


def until(look: Callable[[], Any], timeout_s: float) -> Any:
    """What `look` finds as soon as it finds something."""
    give_up = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < give_up, look
        time.sleep(0.1)
    return found


@pytest.fixture
def breakable() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that a test may stop."""
    with short_directory() as directory:
        server = EmbeddedPostgres(directory, options=FAST)
        asyncio.run(server.start())
        try:
            yield server
        finally:
            asyncio.run(server.stop())


@needs_prometheus
def test_prometheus_sees_the_load_and_the_database_alert_fires_and_clears(
    breakable: EmbeddedPostgres, tmp_path: Path
) -> None:
    with (
        ServeProcess(tmp_path / "data", arguments=["--database", breakable.url]) as serve,
        Producers(serve.grpc_address, 2, 500) as producers,
        prometheus_of(tmp_path, serve.http_url.removeprefix("http://")) as prometheus,
    ):
        until(lambda: prometheus.query("rate(runstream_points_committed_total[5s]) > 100"), 15)
        assert prometheus.firing() == set()

        asyncio.run(breakable.stop())
        until(lambda: "RunstreamDatabaseAway" in prometheus.firing(), 15)
        assert prometheus.query("runstream_queue_oldest_seconds > 0")

        asyncio.run(breakable.start())
        until(lambda: prometheus.firing() == set(), 15)
        assert_exactly_once(serve.grpc_address, producers.run_id, producers.stop())
