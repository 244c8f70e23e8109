"""The limits of each workspace. Within them, workspaces share a replica: see `sharing/`.

workspace_limits.py  the limits, from the settings and from the database, and the part of this front end
point_rates.py       points per second
limited_reads.py     reads at a time
metrics.py           Prometheus metrics of limits

Streams at a time are limited in ingest/pipeline.py, series of a run in ingest/series.py, bytes of a file in artifacts/.
"""
