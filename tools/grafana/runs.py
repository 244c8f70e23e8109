"""The dashboard of training runs, which reads PostgreSQL directly."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import table, timeseries, xychart
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    ValueMap,
    ValueMappingResult,
    VariableRefresh,
)
from grafana_foundation_sdk.models.xychart import XYShowMode

from grafana.parts import POSTGRES, RUNS_UID, AnyPanel, legend, page, source, thresholds, together


class Sql(Builder[Dataquery], Dataquery):
    """A query of the PostgreSQL data source, whose own type the library does not have."""

    def __init__(self, statement: str, form: str) -> None:
        self._statement, self._form = statement.strip(), form

    def build(self) -> Dataquery:
        """The query itself, as builders of the library return what they build."""
        return self

    def to_json(self) -> dict[str, object]:
        """The form in which Grafana stores it."""
        return {
            "refId": "A",
            "datasource": POSTGRES,
            "editorMode": "code",
            "format": self._form,
            "rawQuery": True,
            "rawSql": self._statement,
        }


# Until something is chosen, a variable is an empty text, and every query has to return no rows.
EXPERIMENTS = """
SELECT e.name AS __text, e.experiment_id AS __value
  FROM experiments e
 CROSS JOIN LATERAL (
       SELECT r.started_at FROM runs r
        WHERE r.experiment_id = e.experiment_id AND r.lifecycle = 'active'
        ORDER BY r.started_at DESC LIMIT 1) newest
 WHERE e.lifecycle = 'active'
 ORDER BY newest.started_at DESC
 LIMIT 500
"""

RUNS = """
SELECT r.name || ' ' || left(r.run_id::text, 8) AS __text, r.run_id AS __value
  FROM runs r
 WHERE r.experiment_id = nullif('$experiment', '')::bigint AND r.lifecycle = 'active'
 ORDER BY r.started_at DESC
 LIMIT 500
"""

# The loss comes first, so that a new visitor sees it.
KEYS = """
SELECT key FROM series
 WHERE run_id = ANY (array_remove(ARRAY[$run]::text[], '')::uuid[]) AND purge_epoch IS NULL
 GROUP BY key
 ORDER BY key <> 'loss', key !~* 'loss', key
 LIMIT 1000
"""

# Names of runs are not unique.
_NAME = """run_name || ' ' || left(run_id::text, 8) || ' ' || key
       || CASE WHEN attempt > 0 THEN ' attempt ' || attempt ELSE '' END"""

# Lines are made of all points, through the view. Unpacking costs about a microsecond a point, so if a series has a
# hundred segments or more (of about a thousand points each), the summaries of segments replace the points, and the hot
# points are added. Hot points are found by their run, and unpacked once: without MATERIALIZED, the planner may do that
# for each series. The view is queried for each run separately (OFFSET 0): for several runs at once, the planner would
# not look up the series.
_PIECES = """
WITH chosen AS MATERIALIZED (
    SELECT s.series_id, s.run_id, r.name AS run_name, s.key, s.attempt
      FROM series s JOIN runs r USING (run_id)
     WHERE s.run_id = ANY (array_remove(ARRAY[$run]::text[], '')::uuid[]) AND s.key = ANY (ARRAY[$key]::text[])
       AND s.purge_epoch IS NULL
), segments AS MATERIALIZED (
    SELECT series_id, first_step, last_step, min_time, finite_count, min_value, max_value, sum_value
      FROM metric_segments
     WHERE series_id = ANY (ARRAY(SELECT series_id FROM chosen)) AND epoch <= (SELECT visible_epoch FROM watermark)
       AND {segments}
), hot AS MATERIALIZED (
    SELECT h.series_id, h.step, h.time, h.value
      FROM metric_points_hot h JOIN chosen c USING (series_id)
     WHERE h.run_id = ANY (array_remove(ARRAY[$run]::text[], '')::uuid[])
       AND h.epoch > (SELECT visible_epoch FROM watermark)
), size AS MATERIALIZED (
    SELECT coalesce(max(n) >= 100, false) AS long
      FROM (SELECT count(*) AS n FROM segments GROUP BY series_id) of_series
), pieces AS (
    SELECT p.run_id, p.run_name, p.key, p.attempt, p.step, p.time,
           1 AS points, p.value AS total, p.value AS least, p.value AS greatest
      FROM unnest(array_remove(ARRAY[$run]::text[], '')::uuid[]) AS w (run_id)
     CROSS JOIN LATERAL (
           SELECT * FROM metric_points m WHERE m.run_id = w.run_id AND m.key = ANY (ARRAY[$key]::text[]) OFFSET 0) p
     WHERE {points} AND p.value > '-Infinity' AND p.value < 'Infinity' AND NOT (SELECT long FROM size)
     UNION ALL
    SELECT c.run_id, c.run_name, c.key, c.attempt, s.first_step, s.min_time,
           s.finite_count, s.sum_value, s.min_value, s.max_value
      FROM segments s JOIN chosen c USING (series_id)
     WHERE s.finite_count > 0 AND (SELECT long FROM size)
     UNION ALL
    SELECT c.run_id, c.run_name, c.key, c.attempt, h.step, h.time, 1, h.value, h.value, h.value
      FROM hot h JOIN chosen c USING (series_id)
     WHERE {points} AND h.value > '-Infinity' AND h.value < 'Infinity' AND (SELECT long FROM size)
)"""
_ALL_PIECES = _PIECES.format(segments="true", points="true")
_PIECES_IN_TIME = _PIECES.format(
    segments="max_time >= $__timeFrom() AND min_time <= $__timeTo()", points="$__timeFilter(time)"
)

# At most 500 buckets of steps.
_WIDTH = """width AS MATERIALIZED (
    SELECT greatest(1, ceil((max(last_step)::numeric - min(first_step)) / 500))::bigint AS steps
      FROM (SELECT first_step, last_step FROM segments UNION ALL SELECT min(step), max(step) FROM hot) ends
)"""

CURVES_BY_STEP = f"""{_ALL_PIECES}, {_WIDTH}
SELECT {_NAME} AS series, min(step) AS step, sum(total) / sum(points) AS value
  FROM pieces
 GROUP BY run_id, run_name, key, attempt, step / (SELECT steps FROM width)
 ORDER BY 1, 2
"""  # noqa: S608 - made of constants

RANKS_BY_STEP = f"""{_ALL_PIECES}, {_WIDTH}, buckets AS (
    SELECT {_NAME} AS series, min(step) AS step,
           min(least) AS least, sum(total) / sum(points) AS mean, max(greatest) AS greatest
      FROM pieces
     GROUP BY run_id, run_name, key, attempt, step / (SELECT steps FROM width)
)
SELECT b.series || ' ' || line.name AS series, b.step, line.value
  FROM buckets b
 CROSS JOIN LATERAL (VALUES ('min', b.least), ('mean', b.mean), ('max', b.greatest)) AS line (name, value)
 ORDER BY 1, 2
"""  # noqa: S608 - made of constants

CURVES_BY_TIME = f"""{_PIECES_IN_TIME}
SELECT date_bin('$__interval', time, '2000-01-01') AS time, {_NAME} AS metric, sum(total) / sum(points) AS value
  FROM pieces
 GROUP BY 1, run_id, run_name, key, attempt
 ORDER BY 1
"""  # noqa: S608 - made of constants

# The latest point of each series: what roll-up stored, corrected by hot points; of a rank that was restarted, the
# newest attempt.
LATEST = """
WITH chosen AS MATERIALIZED (
    SELECT s.series_id, s.run_id, s.key, s.rank, s.attempt, r.name
      FROM series s JOIN runs r USING (run_id)
     WHERE s.run_id = ANY (array_remove(ARRAY[$run]::text[], '')::uuid[]) AND s.purge_epoch IS NULL
), candidates AS (
    SELECT series_id, step, time, value
      FROM latest_values WHERE series_id = ANY (ARRAY(SELECT series_id FROM chosen))
     UNION ALL
    SELECT h.series_id, h.step, h.time, h.value
      FROM metric_points_hot h JOIN chosen c USING (series_id)
     WHERE h.run_id = ANY (array_remove(ARRAY[$run]::text[], '')::uuid[])
       AND h.epoch > (SELECT visible_epoch FROM watermark)
), latest AS (
    SELECT DISTINCT ON (series_id) series_id, step, time, value
      FROM candidates
     ORDER BY series_id, step DESC, time DESC, CASE WHEN value = 'NaN' THEN 0 ELSE value END DESC
), of_ranks AS (
    SELECT DISTINCT ON (c.run_id, c.key, c.rank) c.run_id, c.name, c.key, c.rank, l.step, l.time, l.value
      FROM latest l JOIN chosen c USING (series_id)
     ORDER BY c.run_id, c.key, c.rank, c.attempt DESC
)
SELECT name || ' ' || left(run_id::text, 8) AS run, key AS metric, max(step) AS step, max(time) AS "when",
       avg(value) AS mean, count(*) AS ranks,
       min(value) AS min, (array_agg(rank ORDER BY value))[1] AS "rank of min",
       max(value) AS max, (array_agg(rank ORDER BY value DESC))[1] AS "rank of max"
  FROM of_ranks
 GROUP BY run_id, name, key
 ORDER BY name, run_id, key
 LIMIT 5000
"""

# From the summaries of segments, whose values are not unpacked, and the hot points.
POINTS = """
WITH chosen AS MATERIALIZED (
    SELECT s.series_id, s.run_id, s.key, s.rank, s.attempt
      FROM series s
     WHERE s.run_id = ANY (array_remove(ARRAY[$run]::text[], '')::uuid[]) AND s.purge_epoch IS NULL
), counted AS (
    SELECT series_id, sum(point_count) AS points, sum(point_count - finite_count) AS not_finite, max(max_time) AS newest
      FROM metric_segments
     WHERE series_id = ANY (ARRAY(SELECT series_id FROM chosen)) AND epoch <= (SELECT visible_epoch FROM watermark)
     GROUP BY series_id
     UNION ALL
    SELECT h.series_id, count(*), count(*) FILTER (WHERE NOT (h.value > '-Infinity' AND h.value < 'Infinity')),
           max(h.time)
      FROM metric_points_hot h JOIN chosen c USING (series_id)
     WHERE h.run_id = ANY (array_remove(ARRAY[$run]::text[], '')::uuid[])
       AND h.epoch > (SELECT visible_epoch FROM watermark)
     GROUP BY h.series_id
)
SELECT r.name || ' ' || left(r.run_id::text, 8) AS run, r.status, sum(n.points)::bigint AS points,
       sum(n.not_finite)::bigint AS "NaN or infinite", count(DISTINCT c.key) AS metrics,
       count(DISTINCT c.rank) AS ranks, max(c.attempt) AS restarts,
       r.started_at AS started, r.ended_at AS ended, max(n.newest) AS "newest point"
  FROM counted n JOIN chosen c USING (series_id) JOIN runs r USING (run_id)
 GROUP BY r.run_id
 ORDER BY r.started_at DESC
"""

RUNS_OF_EXPERIMENT = """
SELECT r.name AS run, r.run_id::text AS run_id, r.status, r.started_at AS started,
       extract(epoch FROM coalesce(r.ended_at, now()) - r.started_at) AS duration, r.user_name AS "user"
  FROM runs r
 WHERE r.experiment_id = nullif('$experiment', '')::bigint AND r.lifecycle = 'active'
 ORDER BY r.started_at DESC
 LIMIT 500
"""


def sql_table(title: str, meaning: str, statement: str) -> table.Panel:
    """A table of the rows that a statement returns."""
    panel = table.Panel().title(title).description(meaning).datasource(POSTGRES).span(24).height(9)
    return panel.with_target(Sql(statement, "table")).filterable(True)


def by_step(title: str, meaning: str, statement: str) -> AnyPanel:
    """Lines over steps: the rows are partitioned by `series`, and each partition is a line."""
    parts = DataTransformerConfig(
        id_val="partitionByValues", options={"fields": ["series"], "keepFields": False, "naming": {"asLabels": True}}
    )
    panel = xychart.Panel().title(title).description(meaning).datasource(POSTGRES).span(24).height(11)
    panel = panel.with_target(Sql(statement, "table")).with_transformation(parts).show(XYShowMode.LINES).line_width(1)
    named = DynamicConfigValue("displayName", "${__field.labels.series}")
    return panel.override_by_regexp("/^value/", [named]).legend(legend()).tooltip(together())


def runs() -> build.Dashboard:
    """The dashboard of training runs, which reads PostgreSQL directly."""
    made = page(
        "runstream: training runs", RUNS_UID,
        "Curves and latest values of runs, read from PostgreSQL directly, mostly through the view metric_points.",
    )  # fmt: skip
    made = made.time("now-24h", "now").refresh("1m").with_variable(source("grafana-postgresql-datasource"))
    for name, label, statement, multi in (
        ("experiment", "Experiment", EXPERIMENTS, False),
        ("run", "Runs", RUNS, True),
        ("key", "Metrics", KEYS, True),
    ):
        variable = build.QueryVariable(name).label(label).datasource(POSTGRES).query(statement.strip()).multi(multi)
        made = made.with_variable(variable.refresh(VariableRefresh.ON_DASHBOARD_LOAD))
    for panel in RUN_PANELS:
        made = made.with_panel(panel)
    return made


def unit(name: str) -> list[DynamicConfigValue]:
    """The override that gives a column its unit."""
    return [DynamicConfigValue("unit", name)]


_STATUS = ValueMap(
    {
        "running": ValueMappingResult(color="blue", text="running"),
        "finished": ValueMappingResult(color="green", text="finished"),
        "failed": ValueMappingResult(color="red", text="failed"),
        "killed": ValueMappingResult(color="orange", text="killed"),
    }
)
STATUS = [DynamicConfigValue("mappings", [_STATUS]), DynamicConfigValue("custom.cellOptions", {"type": "color-text"})]
CHOOSE = [
    DynamicConfigValue(
        "links",
        [
            {
                "title": "Show this run",
                "url": f"/d/{RUNS_UID}/runs?var-experiment=${{experiment}}&var-run=${{__data.fields.run_id}}",
            }
        ],
    )
]

RUN_PANELS: list[AnyPanel] = [
    by_step(
        "Curves by step",
        "The mean over ranks, in at most 500 buckets of steps. Each restart of the job has its own line. NaN and "
        "infinities are left out; the table of points counts them.",
        CURVES_BY_STEP,
    ),
    timeseries.Panel()
    .title("Curves by time")
    .description(
        "The same over the time at which points were logged, within the time range of the dashboard. In a gap, the "
        "job stood still or did not run, or its points have not arrived yet."
    )
    .datasource(POSTGRES)
    .with_target(Sql(CURVES_BY_TIME, "time_series"))
    .span(24)
    .height(11)
    .line_width(1)
    .span_nulls(False)
    .max_data_points(1000)
    .legend(legend())
    .tooltip(together()),
    by_step(
        "Ranks: least, mean and greatest by step",
        "Over all ranks of a run, and all their points in a bucket, so that no spike is lost. If the lines "
        "diverge, ranks differ: bad data on one worker, for example, or gradients that are not synchronised.",
        RANKS_BY_STEP,
    ),
    sql_table(
        "Latest values",
        "For each metric of the chosen runs, the latest values of its ranks: their mean, and the least and the "
        "greatest with the rank that has it. A metric whose step stays behind that of others is not logged any more.",
        LATEST,
    ),
    sql_table(
        "Points of the chosen runs",
        "NaN or infinite above 0: the run diverged, or a metric divides by zero. If the newest point is old and the "
        "status is running, the job hangs, or died without an error.",
        POINTS,
    )
    .override_by_name("status", STATUS)
    .override_by_name("points", unit("short"))
    .override_by_name(
        "NaN or infinite",
        [
            DynamicConfigValue("thresholds", thresholds(red=1).build()),
            DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
        ],
    ),
    sql_table(
        "Runs of the experiment",
        "The 500 that started last; a click on a name shows the run above.",
        RUNS_OF_EXPERIMENT,
    )
    .override_by_name("status", STATUS)
    .override_by_name("run", CHOOSE)
    .override_by_name("duration", unit("s")),
]
