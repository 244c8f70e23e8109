"""What do MLflow's clients see, who know neither ranks nor attempts, nor more of a time than its milliseconds?

primary_series.py   which rank and attempt of a key they see
metric_rows.py      points that are the same to such a client as one row, and pages of these rows
downsample.py       a few rows of each run that stand for all of them
run_metrics.py      what MLflow's routes call for all this
"""
