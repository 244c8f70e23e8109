"""What Grafana does with a dashboard before it queries: it reads the panels, and replaces variables and macros."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.support.markdown import ROOT

DASHBOARDS = ROOT / "deploy" / "monitoring" / "grafana" / "dashboards"
Dashboard = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """One query of a panel, or of a variable, as the dashboard has it."""

    where: str
    text: str


def dashboard(name: str) -> Dashboard:
    """The dashboard as it is in its file."""
    read: Dashboard = json.loads((DASHBOARDS / f"{name}.json").read_text())
    return read


def panels_of(shown: Dashboard) -> list[dict[str, Any]]:
    """The panels, without the rows that separate them."""
    return [panel for panel in shown["panels"] if panel["type"] != "row"]


def queries_of(shown: Dashboard) -> list[Query]:
    """The queries of all panels."""
    return [
        Query(f"{panel['title']} {target['refId']}", target.get("expr") or target["rawSql"])
        for panel in panels_of(shown)
        for target in panel.get("targets", [])
    ]


def variables_of(shown: Dashboard) -> list[Query]:
    """The queries of variables, in order: each may need the values of those before it."""
    return [Query(one["name"], one["query"]) for one in shown["templating"]["list"] if one["type"] == "query"]


def expand(
    query: str,
    variables: Mapping[str, str | Sequence[str]],
    start: datetime,
    end: datetime,
    *,
    interval: str = "10s",
) -> str:
    """The SQL that the PostgreSQL data source sends. A value goes in as it is; a list of values (of a variable with
    several) in quotes, with commas."""
    begin, until = (f"'{moment.isoformat()}'" for moment in (start, end))
    query = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 BETWEEN {begin} AND {until}", query)
    query = query.replace("$__timeFrom()", begin).replace("$__timeTo()", until).replace("$__interval", interval)
    for name, value in variables.items():
        text = value if isinstance(value, str) else ",".join("'" + one.replace("'", "''") + "'" for one in value)
        query = re.sub(rf"\${name}\b", lambda _, text=text: text, query)  # type: ignore[misc]
    assert "$" not in query, query
    return query
