"""Runs with points in segments and in hot batches, by SQL alone: enough of them that a scan of all is a bad plan."""

from __future__ import annotations

from runstream_service.database.pool import Database
from tests.support.hot import put_selected

# 100 runs of 20 series of 10 segments of 100 points, and 10 hot points of each series.
FILL = """
INSERT INTO experiments (name, workspace_id) VALUES ('digits', 1), ('other', 1);
INSERT INTO runs (run_id, experiment_id, name, started_at)
SELECT md5(n::text)::uuid, 1 + n % 2, 'run' || n, now() FROM generate_series(1, 100) n;
INSERT INTO series (run_id, key, rank, attempt)
SELECT run_id, k, r, 0 FROM runs, unnest('{loss,acc,lr,norm,time}'::text[]) k, generate_series(0, 3) r;
INSERT INTO metric_segments (series_id, epoch, first_step, last_step, min_time, max_time, point_count, finite_count,
                             first_value, last_value, time_ordered, step_stride, time_offsets, values_real)
SELECT series_id, 1, 100 * g, 100 * g + 99, t, t + interval '99 s', 100, 100, 0, 99, true, 1,
       ARRAY(SELECT i * 1000000 FROM generate_series(0, 99) i), ARRAY(SELECT i::real FROM generate_series(0, 99) i)
  FROM series, generate_series(0, 9) g, LATERAL (SELECT timestamptz '2026-01-01' + g * interval '100 s' AS t) times;
INSERT INTO latest_values SELECT series_id, 999, timestamptz '2026-01-01' + interval '999 s', 99 FROM series;
UPDATE epochs SET state = 'visible';
UPDATE watermark SET visible_epoch = 1;
INSERT INTO epochs (epoch, state) VALUES (2, 'open');
SELECT create_hot_partition(2)
"""
_HOT = (
    "SELECT series_id, 1000 + i, timestamptz '2026-01-01' + interval '1000 s', i FROM series, generate_series(0, 9) i"
)


async def fill(database: Database) -> None:
    """Into an empty database; points are a second apart from the beginning of 2026 on."""
    for statement in FILL.split(";\n"):
        await database.execute(statement)
    await database.execute(put_selected(_HOT, epoch=2))
    await database.execute("ANALYZE")
