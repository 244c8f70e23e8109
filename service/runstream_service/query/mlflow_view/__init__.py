"""Points as MLflow's clients see them: without ranks and attempts, and with times in milliseconds.

primary_series.py   chooses the rank and attempt of a key that they see
metric_rows.py      turns points into rows (points that are equal for MLflow are one row), and reads pages of rows
downsample.py       reads a sample of the rows of each run, evenly spread
run_metrics.py      what MLflow's routes call
"""
