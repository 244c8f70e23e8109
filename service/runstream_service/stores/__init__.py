"""The tables of points. Nothing else knows their columns, their partitions or their sizes.

hot_batches.py   points of a group commit <-> rows of the table hot_batches
hot_store.py     the statements on hot_batches: points that are not rolled up yet
segment_store.py the statements on metric_segments: points that are; segments/ says what a row is
"""
