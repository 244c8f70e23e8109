"""Expressions in PromQL, and the panels that show them."""

from __future__ import annotations

from string import ascii_uppercase

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    StackingConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery as PrometheusQuery
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphThresholdsStyleMode,
    StackingMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.parts import PROMETHEUS, RUNBOOKS_UID, AnyPanel, legend, runbook, together


def metric(name: str, *conditions: str) -> str:
    """A metric of the replicas that the variables choose."""
    chosen = ['namespace=~"$namespace"', 'job=~"$job"', 'instance=~"$instance"', *conditions]
    return f"{name}{{{', '.join(chosen)}}}"


def total(name: str, *by: str) -> str:
    """The sum of a gauge over replicas."""
    return f"sum{_by(by)} ({metric(name)})"


def greatest(name: str) -> str:
    """The greatest value of a gauge that is the same on each replica, because it describes their database."""
    return f"max by (namespace, job) ({metric(name)})"


def rate(name: str, *by: str, where: tuple[str, ...] = ()) -> str:
    """The rate of a counter per second, over all replicas."""
    return f"sum{_by(by)} (rate({metric(name, *where)}[$__rate_interval]))"


def quantile(share: float, histogram: str, *by: str) -> str:
    """A quantile of a histogram over all replicas; `share` 0.95 is the 95th percentile."""
    return f"histogram_quantile({share}, {rate(histogram + '_bucket', 'le', *by)})"


def mean(histogram: str) -> str:
    """The mean of a histogram's observations, over all replicas."""
    return f"{rate(histogram + '_sum')} / {rate(histogram + '_count')}"


def quantiles(histogram: str) -> list[tuple[str, str]]:
    """The median, the 95th and the 99th percentile."""
    return [(quantile(share, histogram), f"{share * 100:.0f} %") for share in (0.5, 0.95, 0.99)]


def _by(labels: tuple[str, ...]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""


def prom(expression: str, name: str) -> PrometheusQuery:
    """A query over the time range, and the name of its lines."""
    return PrometheusQuery().datasource(PROMETHEUS).expr(expression).range().legend_format(name)


Named = tuple[str, str]  # expression, legend


def number(
    title: str,
    meaning: str,
    query: Named,
    unit: str,
    levels: build.ThresholdsConfig,
    *,
    alert: str = "",
    width: int = 4,
) -> AnyPanel:
    """One figure, coloured by its level."""
    panel = stat.Panel().title(title).description(meaning).unit(unit).thresholds(levels).span(width).height(4)
    panel = panel.datasource(PROMETHEUS).with_target(prom(*query).ref_id("A"))
    panel = panel.color_mode(BigValueColorMode.BACKGROUND).graph_mode(BigValueGraphMode.NONE)
    return panel.links([runbook(alert)]) if alert else panel


def graph(
    title: str,
    meaning: str,
    queries: list[Named],
    unit: str,
    *,
    alert: str = "",
    levels: build.ThresholdsConfig | None = None,
    stacked: bool = False,
    width: int = 8,
) -> AnyPanel:
    """Lines over time; `levels` are drawn as lines, too."""
    panel = timeseries.Panel().title(title).description(meaning).unit(unit).min(0).span(width).height(8)
    panel = panel.datasource(PROMETHEUS)
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        panel = panel.with_target(prom(*query).ref_id(letter))
    panel = panel.legend(legend("mean", "max") if width > 8 else legend()).tooltip(together())
    panel = panel.fill_opacity(30 if stacked else 5).line_width(1)
    if stacked:
        panel = panel.stacking(StackingConfig().mode(StackingMode.NORMAL))
    if levels is not None:
        style = GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds(levels).thresholds_style(style)
    return panel.links([runbook(alert)]) if alert else panel


def firing() -> AnyPanel:
    """A table of the alerts that fire now."""
    query = PrometheusQuery().datasource(PROMETHEUS).ref_id("A").instant().format(PromQueryFormat.TABLE)
    query = query.expr(
        'sum by (alertname, severity, namespace, job, instance) (ALERTS{alertname=~"Runstream.*", alertstate="firing"})'
    )
    panel = table.Panel().title("Alerts that fire").datasource(PROMETHEUS).with_target(query).span(16).height(5)
    panel = panel.description(
        '"No data" is good: no alert fires. Or this Prometheus does not have the rules of runstream. '
        "A click on an alert opens the runbooks."
    )
    link = DynamicConfigValue("links", [{"title": "Runbooks", "url": f"/d/{RUNBOOKS_UID}/runbooks"}])
    return tidied(panel.override_by_name("alertname", [link]), {"excludeByName": {"Time": True, "Value": True}})


def versions() -> AnyPanel:
    """A table of the versions that run."""
    expression = f"count by (version, python) ({metric('runstream_build_info')})"
    query = (
        PrometheusQuery().datasource(PROMETHEUS).ref_id("A").instant().format(PromQueryFormat.TABLE).expr(expression)
    )
    panel = table.Panel().title("Versions").datasource(PROMETHEUS).with_target(query).span(8).height(5)
    panel = panel.description("More than one row for long: a roll-out is stuck, or an old replica was forgotten.")
    return tidied(panel, {"excludeByName": {"Time": True}, "renameByName": {"Value": "replicas"}})


def tidied(panel: table.Panel, columns: dict[str, object]) -> AnyPanel:
    """The table with columns hidden and renamed."""
    return panel.with_transformation(DataTransformerConfig(id_val="organize", options=columns))
