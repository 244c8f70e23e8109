"""The two tables of points. No other package knows their columns, their partitions or their sizes.

hot_batches.py   the format of hot_batches: points of a group commit <-> rows
hot_store.py     the statements on hot_batches, which has the points that are not rolled up yet
segment_store.py the statements on metric_segments, which has the points that are; segments/ has its format
"""
