"""Bounds of the ingest path. Clients get them in Opened; proto/runstream/v1/ingest.proto documents them."""

from __future__ import annotations

MAX_MESSAGE_BYTES = 1 << 20
# 28 bytes a point: a full batch is 448 KiB, well below the message bound.
MAX_BATCH_POINTS = 16_384
MAX_SERIES_PER_PRODUCER = 32_768
# Each batch takes some microseconds of the event loop, however small it is. One message must not block it for long.
MAX_BATCHES_PER_MESSAGE = 1_024
# How many producers one stream may have open at a time: far more than a node has ranks.
MAX_PRODUCERS_PER_STREAM = 1_024
# Bound of the points that a stream of many producers has read and that still wait: for room in the queue, for a
# Declare, or for their turn. About 2 MB. At this bound the stream is not read until some of them are handed on.
READ_AHEAD_POINTS = 65_536
# Bound of the points, of all streams, that were read while the queue was full. About 250 MB: seven thousand streams of
# one producer, each with one batch of 1,000 points that waits. Above it, streams end with OVERLOADED; from half of it,
# streams of many producers read nothing ahead.
MAX_HELD_POINTS = 7_000_000
# 28 as received, and 8 for the series id. Declarations that wait count as points, one for this many of their bytes.
BYTES_PER_HELD_POINT = 36

# Years 1 to 9999, the range of PostgreSQL's ISO dates and of Python's datetime. Microseconds since 1970.
MIN_TIME_UNIX_US = -62_135_596_800_000_000
MAX_TIME_UNIX_US = 253_402_300_799_999_999

# Rank and attempt of points of MLflow's API, whichever way they come: over HTTP, or in a stream of the journal of a
# script that uses MLflow. So a script's points are one series.
MLFLOW_RANK, MLFLOW_ATTEMPT = -1, 0
