"""Streams metric points from training workers to the runstream service: fast, durably, and exactly once.

    import runstream

    with runstream.start_run(experiment="digits", name="mlp") as run:
        run.log({"loss": 0.7}, step=0)

    runstream.Client().history(run.run_id, "loss").values

`start_run` and `Run` never wait for the network and never raise once started; `Client` blocks and raises
`RunstreamError`. The client reports problems to the logger "runstream".
"""

from runstream import _protobuf_version as _protobuf_version  # first: the imports below load generated code
from runstream.client import (
    AggregateCurve,
    ChartSeries,
    Client,
    Experiment,
    History,
    LatestPoint,
    News,
    Point,
    RunInfo,
    SeriesColumns,
)
from runstream.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Overloaded,
    PermissionDenied,
    RunstreamError,
    ServiceError,
    Unavailable,
)
from runstream.run import Run, RunStats, start_run

__all__ = [
    "AggregateCurve",
    "AlreadyExists",
    "ChartSeries",
    "Client",
    "DeadlineExceeded",
    "Experiment",
    "FailedPrecondition",
    "History",
    "InvalidArgument",
    "LatestPoint",
    "News",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "Point",
    "Run",
    "RunInfo",
    "RunStats",
    "RunstreamError",
    "SeriesColumns",
    "ServiceError",
    "Unavailable",
    "start_run",
]
