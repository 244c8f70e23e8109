"""What do MLflow's clients see, which know neither ranks nor attempts, nor more of a time than its milliseconds?

primary_series.py   which rank and attempt of a key they see
metric_rows.py      rows: points that are equal for such a client are one row; pages of rows
downsample.py       a few rows of each run, evenly spread over all of them
run_metrics.py      what MLflow's routes call for all this
"""
