-- when: before
-- What lets reads skip most hot rows: least and greatest series of each eight pages. A group commit lies sorted by
-- series, so a series is on few of them. It costs COPY next to nothing, as pages are summarised later, by the roll-up
-- loop (rollup/hot_index.py); what is not summarised yet is scanned. Partitions to come get it when they are attached.
CREATE INDEX metric_points_hot_by_series ON metric_points_hot USING brin (series_id) WITH (pages_per_range = 8);
