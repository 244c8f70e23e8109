"""Reads points: one package or module per question. docs/queries.md says how each is answered.

reading/         what every read of stored points is made of: start here
history/         all points of some series
latest.py        the latest point of each series
keys_in_use.py   the keys of a run, or of many
run_overview.py  one run at a glance
charts/          the course of curves, in a limited number of buckets
run_search/      which runs match a filter, and in which order
mlflow_view/     points as MLflow's clients see them, which know neither ranks nor attempts
tail/            new points as they are committed
"""
