"""Reads points: one package or module for each kind of question. docs/queries.md says how each is answered.

reading/         the parts of every read of stored points: start here
history/         all points of some series
latest.py        the latest point of each series
keys_in_use.py   the keys of a run, or of many
run_overview.py  what the page of one run begins with
charts/          curves in a limited number of buckets
run_search/      which runs match a filter, and in which order
mlflow_view/     points as MLflow's clients see them, who know neither ranks nor attempts
tail/            new points as they are committed
"""
