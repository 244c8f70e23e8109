-- when: before
-- The least and the greatest finite value of each series, and the first step that had each, kept with its latest point.
-- Of a series without a finite value they are Infinity and -Infinity, which any value replaces, and 0.
ALTER TABLE latest_values
    ADD min_value double precision NOT NULL DEFAULT 'Infinity',
    ADD min_step bigint NOT NULL DEFAULT 0,
    ADD max_value double precision NOT NULL DEFAULT '-Infinity',
    ADD max_step bigint NOT NULL DEFAULT 0;
ALTER TABLE unpublished_latest_values
    ADD min_value double precision NOT NULL DEFAULT 'Infinity',
    ADD min_step bigint NOT NULL DEFAULT 0,
    ADD max_value double precision NOT NULL DEFAULT '-Infinity',
    ADD max_step bigint NOT NULL DEFAULT 0;

-- Of what is stored already, segments know their extremes, and their arrays the steps. First by the summaries alone: of each
-- series the segment that begins first among those with the extreme. Then those with the extreme that overlap it, where
-- the same value may have an earlier step. So few arrays are read, unless a series is constant and its segments overlap.
CREATE TEMPORARY TABLE best (series_id bigint, is_max boolean, value double precision, step bigint) ON COMMIT DROP;
CREATE TEMPORARY TABLE earlier (series_id bigint, is_max boolean, step bigint) ON COMMIT DROP;

DO $$
DECLARE
    extreme record;
BEGIN
    FOR extreme IN SELECT * FROM (VALUES (false, 'min', 'min_value'), (true, 'max', 'max_value')) x (is_max, best, name)
    LOOP
        EXECUTE format($fill$
            WITH extremes AS (
                SELECT series_id, %1$s(%2$I) AS value FROM metric_segments WHERE finite_count > 0 GROUP BY series_id
            ), first AS (
                SELECT DISTINCT ON (s.series_id) s.series_id, e.value, s.first_step,
                       CASE WHEN s.values_real IS NULL THEN array_position(s.values_double, e.value)
                            ELSE array_position(s.values_real, e.value::real) END AS place,
                       s.steps, s.step_stride
                  FROM metric_segments s JOIN extremes e ON s.series_id = e.series_id AND s.%2$I = e.value
                 ORDER BY s.series_id, s.first_step
            )
            INSERT INTO best
            SELECT series_id, %3$L::boolean, value, coalesce(steps[place], first_step + (place - 1) * step_stride) FROM first
            $fill$, extreme.best, extreme.name, extreme.is_max);
        EXECUTE format($overlapping$
            INSERT INTO earlier
            SELECT s.series_id, best.is_max, coalesce(s.steps[place], s.first_step + (place - 1) * s.step_stride)
              FROM best JOIN metric_segments s ON s.series_id = best.series_id AND s.%1$I = best.value
                                              AND s.first_step < best.step
             CROSS JOIN LATERAL (
                   SELECT CASE WHEN s.values_real IS NULL THEN array_position(s.values_double, best.value)
                               ELSE array_position(s.values_real, best.value::real) END AS place) p
             WHERE best.is_max = %2$L::boolean
            $overlapping$, extreme.name, extreme.is_max);
    END LOOP;
END $$;

UPDATE best b
   SET step = least(b.step, e.step)
  FROM (SELECT series_id, is_max, min(step) AS step FROM earlier GROUP BY series_id, is_max) e
 WHERE b.series_id = e.series_id AND b.is_max = e.is_max;

UPDATE latest_values l
   SET min_value = low.value, min_step = low.step, max_value = high.value, max_step = high.step
  FROM best low JOIN best high USING (series_id)
 WHERE NOT low.is_max AND high.is_max AND l.series_id = low.series_id;

-- Also of epochs that are rolled up and not published yet: what is merged twice stays the same.
UPDATE unpublished_latest_values l
   SET min_value = low.value, min_step = low.step, max_value = high.value, max_step = high.step
  FROM best low JOIN best high USING (series_id)
 WHERE NOT low.is_max AND high.is_max AND l.series_id = low.series_id;
