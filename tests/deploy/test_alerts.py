"""The alerts: valid, tested, each with a runbook that works. A real Prometheus fires one: test_watching.py."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

from runstream_service.server.settings import OPTIONS
from tests.support.markdown import ROOT, blocks_of, table_of
from tests.support.prometheus import RULES, metrics_named_in

MONITORING = ROOT / "deploy" / "monitoring"
RULE_TESTS = MONITORING / "alerts.test.yml"
RUNBOOKS = sorted((MONITORING / "runbooks").glob("*.md"))
OPERATIONS, CLIENT = ROOT / "docs" / "operations.md", ROOT / "docs" / "client.md"

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is missing")


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


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


def test_each_alert_has_a_test_a_severity_a_summary_and_a_runbook() -> None:
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
    texts = "".join(runbook.read_text() for runbook in RUNBOOKS)
    patterns = re.findall(r"kubectl logs .*\| grep '?([\w\\|]+)", texts)
    named = {action for pattern in patterns for action in pattern.split(r"\|")}
    assert len(named) > 5
    assert named <= known


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
