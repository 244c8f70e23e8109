"""The format of a segment: up to about a thousand points of one series in one row of metric_segments.

points.py       points as columns, their order, and the latest point of each series
best_values.py  the least and the greatest value of each series
build.py        points -> segments: where they are cut, summaries, which encoding fits
encode.py       segments -> rows of COPY BINARY
decode.py       rows of COPY BINARY -> points and summaries
"""
