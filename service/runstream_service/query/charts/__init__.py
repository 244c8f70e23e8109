"""Curves in a limited number of buckets. Values are exact, and mostly come from the summaries of segments.

buckets.py          combines points and summaries into buckets
curves.py           finds the segments and hot points of a curve; a newer attempt replaces the older ones
segment_arrays.py   decides whether the summary of a segment is enough, reads the arrays of the others, builds the
buckets chart.py            charts: the curves of some runs aggregate.py        combines all ranks of a run into one
curve beginnings.py       the first step and time of an attempt stragglers.py       which ranks are slow
"""
