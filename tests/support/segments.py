"""Makes segments with SQL alone, independently of roll-up, so that reads are tested with two kinds of segments."""

from __future__ import annotations

from runstream_service.database.pool import Database

# $1: points a segment at most.
ROLL_UP = """
WITH numbered AS (
    SELECT h.*, (row_number() OVER by_series - 1) / $1::int AS piece
      FROM metric_points_hot h WHERE h.epoch <= $2
    WINDOW by_series AS (PARTITION BY series_id ORDER BY step, time)
), gathered AS (
    SELECT series_id, max(epoch) AS epoch, count(*) AS points,
           array_agg(step ORDER BY step, time) AS steps,
           array_agg(time ORDER BY step, time) AS times,
           array_agg(value ORDER BY step, time) AS vals,
           min(time) AS min_time, max(time) AS max_time,
           count(*) FILTER (WHERE value > '-Infinity' AND value < 'Infinity') AS finite,
           min(value) FILTER (WHERE value > '-Infinity' AND value < 'Infinity') AS least,
           max(value) FILTER (WHERE value > '-Infinity' AND value < 'Infinity') AS most,
           sum(value::numeric) FILTER (WHERE value > '-Infinity' AND value < 'Infinity') AS total
      FROM numbered GROUP BY series_id, piece
), shaped AS (
    SELECT *,
           max_time - min_time < interval '2147 s' AS near,
           (SELECT bool_and(v = 'NaN' OR (abs(v) < 3e38 AND (v = 0 OR abs(v) > 1e-37) AND v::real::float8 = v))
              FROM unnest(vals) v) AS real,
           (SELECT bool_and(a >= b) FROM (SELECT t AS a, lag(t) OVER (ORDER BY i) AS b
              FROM unnest(times) WITH ORDINALITY AS u (t, i)) q) AS ordered,
           CASE WHEN (SELECT count(DISTINCT d) <= 1 FROM (SELECT s::numeric - lag(s) OVER (ORDER BY i) AS d
              FROM unnest(steps) WITH ORDINALITY AS u (s, i)) q WHERE d IS NOT NULL)
                 AND steps[points]::numeric - steps[1] < 9e18
                THEN coalesce(steps[2] - steps[1], 0) END AS stride
      FROM gathered
)
INSERT INTO metric_segments
SELECT series_id, epoch, steps[1], steps[points], min_time, max_time, points, finite, least, most,
       CASE WHEN abs(total) > 1.797e308 THEN 'Infinity' ELSE total END,
       vals[1], vals[points], coalesce(ordered, true), stride,
       CASE WHEN stride IS NULL THEN steps END,
       CASE WHEN near THEN (SELECT array_agg((extract(epoch FROM t - min_time) * 1000000)::int ORDER BY i)
                              FROM unnest(times) WITH ORDINALITY AS u (t, i)) END,
       CASE WHEN NOT near THEN times END,
       CASE WHEN real THEN vals::real[] END,
       CASE WHEN NOT real THEN vals END
  FROM shaped
"""

LATEST = """
INSERT INTO latest_values (series_id, step, time, value)
SELECT DISTINCT ON (series_id) series_id, step, time, value FROM metric_points_hot WHERE epoch <= $1
 ORDER BY series_id, step DESC, time DESC, CASE WHEN value = 'NaN' THEN 0 ELSE value END DESC
ON CONFLICT (series_id) DO UPDATE SET step = excluded.step, time = excluded.time, value = excluded.value
 WHERE (excluded.step, excluded.time, CASE WHEN excluded.value = 'NaN' THEN 0 ELSE excluded.value END)
     > (latest_values.step, latest_values.time,
        CASE WHEN latest_values.value = 'NaN' THEN 0 ELSE latest_values.value END)
"""


async def roll_up_all(database: Database, *, segment_points: int = 1_000) -> int:
    """Moves all hot points into segments and opens a new epoch; returns its number. It is one transaction, for tests
    that are not about the order of these steps."""
    async with database.transaction() as connection:
        epoch: int = await connection.fetchval("SELECT max(epoch) FROM epochs")
        last: int = await connection.fetchval("SELECT visible_epoch FROM watermark")
        await connection.execute(ROLL_UP.replace("h.epoch <= $2", f"h.epoch > {last}"), segment_points)
        await connection.execute(LATEST.replace("epoch <= $1", f"epoch > {last}"))
        await connection.execute("UPDATE epochs SET state = 'visible' WHERE state = 'open'")
        await connection.execute("INSERT INTO epochs (epoch, state) VALUES ($1, 'open')", epoch + 1)
        await connection.execute("SELECT create_hot_partition($1)", epoch + 1)
        await connection.execute("UPDATE watermark SET visible_epoch = $1", epoch)
    return epoch + 1
