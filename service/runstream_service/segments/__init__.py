"""Segments: up to about a thousand points of one series in one row of metric_segments.

points.py    points as columns, and their order
cut.py       points -> segments: cuts, summaries, which encoding fits
encode.py    segments -> rows of COPY BINARY
decode.py    rows of COPY BINARY -> points and summaries
"""
