"""Streams metric points from training workers to the runstream service: fast, durably, and exactly once.

    import runstream

    with runstream.start_run(experiment="digits", name="mlp") as run:
        run.log({"loss": 0.7}, step=0)

    runstream.Client().history(run.run_id, "loss").values

`start_run` and `Run` never wait for the network and never raise once started; `Client` blocks and raises
`RunstreamError`. The client reports problems to the logger "runstream".
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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
    Unauthenticated,
    Unavailable,
)
from runstream.run import Run, RunStats, start_run

if TYPE_CHECKING:
    from runstream.client import (
        AggregateCurve,
        Caller,
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

__all__ = [
    "AggregateCurve",
    "AlreadyExists",
    "Caller",
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
    "Unauthenticated",
    "Unavailable",
    "start_run",
]


def __getattr__(name: str) -> Any:
    """Imports the reading side when it is first used: it needs gRPC, which a process that only trains never loads."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module("runstream.client"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
