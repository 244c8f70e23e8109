"""Bounds of the ingest path. Clients get them in Opened; proto/runstream/v1/ingest.proto documents them."""

from __future__ import annotations

MAX_MESSAGE_BYTES = 1 << 20
# 28 bytes a point: a full batch is 448 KiB, well below the message bound.
MAX_BATCH_POINTS = 16_384
MAX_SERIES_PER_PRODUCER = 32_768
# Each batch costs the event loop some microseconds, however small it is; it must not be held for long by one message.
MAX_BATCHES_PER_MESSAGE = 1_024
# How many producers one stream may have open at a time: far more than a node has ranks.
MAX_PRODUCERS_PER_STREAM = 1_024
# A stream of many producers is read on while it has at most so many points that were read and wait for room, for a
# Declare or for their turn, about 2 MB. At this bound it is not read until some of them are handed on.
READ_AHEAD_POINTS = 65_536
# Most points in batches that were read while the queue was full, of all streams. This is about 250 MB: seven thousand
# streams of one producer, which wait with one batch each, of 1,000 points. Above, streams end with OVERLOADED. Streams
# of many producers do not read ahead any more at half of it.
MAX_HELD_POINTS = 7_000_000
# 28 as received, and 8 for the series id. Declarations that wait are counted by their bytes.
BYTES_PER_HELD_POINT = 36

# Years 1 to 9999, the range of PostgreSQL's ISO dates and of Python's datetime. Microseconds since 1970.
MIN_TIME_UNIX_US = -62_135_596_800_000_000
MAX_TIME_UNIX_US = 253_402_300_799_999_999

# Rank and attempt of points of MLflow's API, whichever way they come: over HTTP, or in a stream of the journal of a
# script that uses MLflow. So a script's points are one series.
MLFLOW_RANK, MLFLOW_ATTEMPT = -1, 0
