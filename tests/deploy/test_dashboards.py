"""The dashboards are as their program makes them, say what they show, and every query of PostgreSQL in them answers.

Those of Prometheus are asked in test_watching.py. Grafana itself does not run here: see docs/grafana.md.
"""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from runstream_service.database.pool import Database
from tests.support import grafana
from tests.support.many_runs import fill
from tests.support.markdown import ROOT, table_of
from tests.support.prometheus import metrics_named_in
from tests.support.stored import make_run, prepare, put

SERVICE, RUNS, RUNBOOKS = (grafana.dashboard(name) for name in ("service", "runs", "runbooks"))
PANELS = [panel for shown in (SERVICE, RUNS) for panel in grafana.panels_of(shown)]
SQL = {query.where.removesuffix(" A"): query.text for query in grafana.queries_of(RUNS)}
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
END = START + timedelta(hours=1)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Grafana's library needs Python 3.11")
def test_the_dashboards_are_as_their_program_makes_them() -> None:
    tool = ROOT / "tools" / "dashboards.py"
    done = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_means_when_it_moves(panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 20
    if panel["type"] in ("timeseries", "stat") and panel["datasource"]["type"] == "prometheus":
        assert panel["fieldConfig"]["defaults"]["unit"]
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references) > 0
    assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


def test_a_link_to_a_runbook_leads_to_it() -> None:
    shown = {panel["id"]: panel for panel in RUNBOOKS["panels"]}
    links = [link for panel in PANELS for link in panel.get("links", [])]
    assert len(links) > 10
    for link in links:
        number = re.fullmatch(rf"/d/{RUNBOOKS['uid']}/runbooks\?viewPanel=(\d+)", link["url"])
        assert number, link
        assert link["title"] == f"Runbook: {shown[int(number[1])]['title']}"


def test_the_runbooks_are_shown_whole() -> None:
    files = sorted((ROOT / "deploy" / "monitoring" / "runbooks").glob("*.md"))
    assert [panel["title"] for panel in RUNBOOKS["panels"]] == [path.stem for path in files]
    for panel, path in zip(RUNBOOKS["panels"], files, strict=True):
        assert panel["options"]["content"] == path.read_text().partition("\n")[2].strip()


def test_every_metric_of_the_service_is_on_the_dashboard_or_left_out_with_a_reason() -> None:
    left_out = {
        "runstream_batches_received_total",  # as the points
        "runstream_ingest_holds_total",  # runstream_ingest_held is
        "runstream_database_pool_connections",  # those in use are
        "runstream_rollup_segments_total",  # as the points
        "runstream_segments_merged_total",  # as the points
        "runstream_deleted_points_total",  # series and runs are
        "runstream_deleted_segments_total",
    }
    known = {row[0] for row in table_of(ROOT / "docs" / "operations.md", "name")}
    shown = metrics_named_in("\n".join(query.text for query in grafana.queries_of(SERVICE)))
    assert shown | left_out == known
    assert not shown & left_out


# -- queries of PostgreSQL ---------------------------------------------------------------------------------------------


async def ask(database: Database, statement: str, variables: dict[str, Any], **options: str) -> list[asyncpg.Record]:
    """The rows that Grafana would get."""
    return await database.fetch(grafana.expand(statement, variables, START, END, **options))


async def test_every_query_has_rows_and_reads_not_all_segments(database: Database) -> None:
    """Those of the variables, each with what the one before offers; then those of the panels, with what they offer."""
    await fill(database)
    chosen: dict[str, Any] = {}
    for variable in grafana.variables_of(RUNS):
        rows = await ask(database, variable.text, chosen)
        offered = [str(row[-1]) for row in rows]
        chosen[variable.where] = offered[0] if variable.where == "experiment" else offered[:2]
        if variable.where == "experiment":  # not the default one, which has no runs
            assert {row["__text"] for row in rows} == {"digits", "other"}
        if variable.where == "key":  # the loss first, as what a visitor sees
            assert offered == ["loss", "acc", "lr", "norm", "time"]
    chosen["key"].append("it's")
    for title, statement in SQL.items():
        assert await ask(database, statement, chosen), title
        plan = "\n".join(row[0] for row in await ask(database, f"EXPLAIN {statement}", chosen))
        assert "Seq Scan on metric_segments" not in plan, title
        assert "Seq Scan on series" not in plan, title


@pytest.mark.parametrize("filled", [False, True], ids=["fresh", "filled"])
@pytest.mark.parametrize("several", ["''", ""], ids=["an empty text", "no value"])
async def test_a_query_with_an_empty_variable_finds_nothing(database: Database, filled: bool, several: str) -> None:
    """As on a fresh install: Grafana puts an empty text for a variable without a value, in quotes for one that may have
    several, or nothing."""
    empty = {"experiment": "", "run": several, "key": several}
    if filled:
        await fill(database)
    variables = {variable.where: variable.text for variable in grafana.variables_of(RUNS)}
    chosen = {"experiment": "1", "run": f"'{'0' * 32}'", "key": "'loss'"}
    for title, statement in {**variables, **SQL}.items():
        for missing in [name for name in empty if f"${name}" in statement]:
            assert await ask(database, statement, chosen | {missing: empty[missing]}) == [], (title, missing)
        if title != "experiment":
            assert await ask(database, statement, empty) == [], title


# One run with 1,000 rolled up and ten hot points of each of 20 series: ranks 0 to 3 of five metrics.
async def test_the_tables_say_what_is_stored(database: Database) -> None:
    await fill(database)
    run = await database.fetchrow("SELECT run_id, name FROM runs LIMIT 1")
    assert run is not None
    chosen = {"run": [str(run["run_id"])]}
    latest = await ask(database, SQL["Latest values"], chosen)
    assert [row["metric"] for row in latest] == ["acc", "loss", "lr", "norm", "time"]
    assert {(row["step"], row["mean"], row["ranks"], row["min"], row["max"]) for row in latest} == {(1009, 9, 4, 9, 9)}
    (points,) = await ask(database, SQL["Points of the chosen runs"], chosen)
    assert points["run"] == f"{run['name']} {str(run['run_id'])[:8]}"
    assert [points[name] for name in ("points", "NaN or infinite", "metrics", "ranks")] == [20 * 1010, 0, 5, 4]


@pytest.mark.parametrize("segments", [99, 100], ids=["each point", "summaries of segments"])
async def test_a_curve_is_the_same_from_points_and_from_summaries(database: Database, segments: int) -> None:
    """Ten points a segment, ten hot ones; of two ranks, one logs the double; NaN is left out."""
    await prepare(database)
    run_id = await make_run(database)
    for rank in (0, 1):
        rows = [
            (step, 1_767_225_600_000_000 + step * 1_000_000, step * (rank + 1.0)) for step in range(10 * segments + 10)
        ]
        pieces = [rows[first : first + 10] for first in range(0, 10 * segments, 10)]
        await put(
            database, run_id, "loss", segments=pieces, hot=[*rows[-10:], (5, rows[5][1], float("nan"))], rank=rank
        )
    chosen = {"run": [run_id], "key": ["loss"]}
    for row in await ask(database, SQL["Curves by step"], chosen):
        assert abs(row["value"] - 1.5 * row["step"]) < 10  # a bucket has at most ten steps
    bounds = await ask(database, SQL["Ranks: least, mean and greatest by step"], chosen)
    lines = {kind: [row["value"] for row in bounds if row["series"].endswith(kind)] for kind in ("min", "mean", "max")}
    assert (min(lines["min"]), max(lines["max"])) == (0, 2 * (10 * segments + 9))
    by_time = await ask(database, SQL["Curves by time"], chosen, interval="60s")
    assert [row["time"] for row in by_time] == [START + timedelta(minutes=n) for n in range(len(by_time))]
    assert [row["value"] for row in by_time[:10]] == [pytest.approx(1.5 * (60 * n + 29.5)) for n in range(10)]


def test_the_dashboards_have_the_names_by_which_they_refer_to_each_other() -> None:
    assert [shown["uid"] for shown in (SERVICE, RUNS, RUNBOOKS)] == [
        "runstream-service", "runstream-runs", "runstream-runbooks",
    ]  # fmt: skip
    assert {path.stem for path in Path(grafana.DASHBOARDS).iterdir()} == {"service", "runs", "runbooks"}
