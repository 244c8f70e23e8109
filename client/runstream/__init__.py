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

if TYPE_CHECKING:
    from runstream.client import (
        AggregateCurve,
        BestValue,
        BestValues,
        Caller,
        Chart,
        ChartSeries,
        Client,
        Experiment,
        History,
        LatestPoint,
        LatestPoints,
        Point,
        RunInfo,
        RunList,
        SeriesColumns,
        TailUpdate,
    )
    from runstream.run import Run, RunStats, start_run

__all__ = [
    "AggregateCurve",
    "AlreadyExists",
    "BestValue",
    "BestValues",
    "Caller",
    "Chart",
    "ChartSeries",
    "Client",
    "DeadlineExceeded",
    "Experiment",
    "FailedPrecondition",
    "History",
    "InvalidArgument",
    "LatestPoint",
    "LatestPoints",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "Point",
    "Run",
    "RunInfo",
    "RunList",
    "RunStats",
    "RunstreamError",
    "SeriesColumns",
    "ServiceError",
    "TailUpdate",
    "Unauthenticated",
    "Unavailable",
    "start_run",
]


_LOGGING = ("Run", "RunStats", "start_run")


def __getattr__(name: str) -> Any:
    """Imports each side when it is first used: reading needs gRPC, which a process that only trains never loads; and
    the command line, which only reads, need not wait for logging."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "runstream.run" if name in _LOGGING else "runstream.client"
    value = globals()[name] = getattr(importlib.import_module(module), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
