"""What do MLflow's clients see, who know neither ranks nor attempts, nor more of a time than its milliseconds?

primary_series.py   the latest point of each key: of its lowest rank, of the newest attempt
run_sources.py      the series of the lowest rank, and where their points are
metric_rows.py      points that are the same to such a client as one row
metric_pages.py     the rows of a run by time, a page at a time
downsample.py       a few rows of each run that stand for all of them
run_metrics.py      what MLflow's routes call for all this
"""
