"""Finds the runs that match a filter, in an order.

metric_columns.py   reads the latest or best values of some keys in thousands of runs
metric_filter.py    evaluates conditions that use metrics, for all candidates at once
run_search.py       the search: metrics are compared in columns, everything else in SQL
"""
