"""The parts that all dashboards share: data sources, thresholds, legends."""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders.common import (
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import (
    DataSourceRef,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    Panel,
    Threshold,
    ThresholdsMode,
)

ROOT = Path(__file__).parents[2]
DASHBOARDS = ROOT / "deploy" / "monitoring" / "grafana" / "dashboards"
RUNBOOKS = sorted((ROOT / "deploy" / "monitoring" / "runbooks").glob("*.md"))

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${datasource}")
POSTGRES = DataSourceRef(type_val="grafana-postgresql-datasource", uid="${datasource}")
SERVICE_UID, RUNS_UID, RUNBOOKS_UID = "runstream-service", "runstream-runs", "runstream-runbooks"
TAG = "runstream"

AnyPanel = Builder[Panel]
# The title of a row, and its panels.
Row = tuple[str, list[AnyPanel]]


def thresholds(**colours: float) -> build.ThresholdsConfig:
    """Green below the first threshold, then the colours from their values on: `yellow=10, red=60`."""
    steps = [Threshold(value=None, color="green"), *(Threshold(value, colour) for colour, value in colours.items())]
    return build.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def good_from(value: float) -> build.ThresholdsConfig:
    """Red below, green from `value` on."""
    steps = [Threshold(value=None, color="red"), Threshold(value, "green")]
    return build.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def runbook(alert: str) -> build.DashboardLink:
    """A link to the panel that shows the runbook of an alert."""
    number = [path.stem for path in RUNBOOKS].index(alert) + 1
    url = f"/d/{RUNBOOKS_UID}/runbooks?viewPanel={number}"
    return build.DashboardLink(f"Runbook: {alert}").type(DashboardLinkType.LINK).url(url).placement("")


def legend(*columns: str) -> VizLegendOptions:
    """A legend below the graph; a table if it has columns such as `max`."""
    mode = LegendDisplayMode.TABLE if columns else LegendDisplayMode.LIST
    shown = VizLegendOptions().display_mode(mode).placement(LegendPlacement.BOTTOM).show_legend(True)
    return shown.calcs(list(columns))


def together() -> VizTooltipOptions:
    """Show the values of all series under the mouse, greatest first."""
    return VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)


def source(plugin: str) -> build.DatasourceVariable:
    """The variable that chooses a data source of this kind; Grafana takes the first one until somebody chooses."""
    return build.DatasourceVariable("datasource").label("Data source").type(plugin)


def page(title: str, uid: str, description: str) -> build.Dashboard:
    """An empty dashboard that links to the others."""
    others = build.DashboardLink("runstream").type(DashboardLinkType.DASHBOARDS).tags([TAG]).placement("")
    made = build.Dashboard(title).uid(uid).description(description).tags([TAG]).readonly()
    return made.link(others.keep_time(True))
