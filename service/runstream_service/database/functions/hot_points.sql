-- The points of a row of hot_batches: 16 bytes a point if they are differences from first_series, first_step and first_time
-- (series 2 bytes, step 2, microseconds 4, value 8), 32 bytes if they are whole numbers (8 bytes each; the time in
-- microseconds since 2000).
--
-- Written to be inlined into the query that calls it. It is one SELECT, not a UNION of the two forms: a query that joins it
-- with series then computes nothing but the series of the points that it does not want, which is a tenth of the work.
CREATE OR REPLACE FUNCTION hot_points(
    first_series bigint, first_step bigint, first_time timestamptz, points bytea
) RETURNS TABLE (series_id bigint, step bigint, "time" timestamptz, value double precision)
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN first_series IS NULL THEN bigint_at(points, at)
                ELSE first_series + ((get_byte(points, at) << 8) | get_byte(points, at + 1)) END,
           CASE WHEN first_series IS NULL THEN bigint_at(points, at + 8)
                ELSE first_step + ((get_byte(points, at + 2) << 8) | get_byte(points, at + 3)) END,
           -- Seconds apart: an interval is multiplied as double precision, which does not have all bits of microseconds.
           CASE WHEN first_series IS NULL
                THEN timestamptz '2000-01-01 00:00:00+00' + bigint_at(points, at + 16) / 1000000 * interval '1 second'
                     + bigint_at(points, at + 16) % 1000000 * interval '1 microsecond'
                ELSE first_time + (bigint_at(points, at) & 4294967295) * interval '1 microsecond' END,
           double_at(points, at + CASE WHEN first_series IS NULL THEN 24 ELSE 8 END)
      FROM generate_series(0, length(points) - 1, CASE WHEN first_series IS NULL THEN 32 ELSE 16 END) AS at
$$;
