"""Which runs match a filter, and in which order?

metric_columns.py   the latest values of some keys in thousands of runs
metric_filter.py    conditions that use metrics, over all candidates at once
run_search.py       the search: in SQL for all that is no metric, in columns for metrics
"""
