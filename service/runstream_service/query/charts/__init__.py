"""What course do curves take? Exact values for a limited number of buckets, mostly from the summaries of segments.

buckets.py          points and summaries -> buckets
curves.py           which segments and hot points a curve is made of; a newer attempt replaces the older ones
segment_arrays.py   decides which segments have to be read with their arrays, reads them, and builds the buckets
chart.py            the curves of some runs, each on its own
aggregate.py        one curve out of all ranks of a run
beginnings.py       where series begin: for the beginnings of attempts
stragglers.py       which ranks are slow
"""
