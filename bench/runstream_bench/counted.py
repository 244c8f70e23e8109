"""The service, which writes at its end how often its metrics were called:

python -m runstream_bench.counted FILE serve ...
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import prometheus_client

from runstream.cli import main
from runstream_service.ingest.latency import ClientClockOffset, LogToCommitHistogram
from runstream_service.ingest.metrics import Received


def count_calls() -> Counter[str]:
    """Counts calls from now on, by `Class.method`."""
    calls: Counter[str] = Counter()
    for kind, methods in (
        (prometheus_client.Counter, ("inc", "labels")),
        (prometheus_client.Gauge, ("inc", "dec", "set", "labels")),
        (prometheus_client.Histogram, ("observe", "labels")),
        (Received, ("count",)),
        (ClientClockOffset, ("on_the_way_us",)),
        (LogToCommitHistogram, ("observe",)),
    ):
        for method in methods:
            setattr(kind, method, _counted(calls, f"{kind.__name__}.{method}", getattr(kind, method)))
    return calls


def _counted(calls: Counter[str], name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def count_and_call(*arguments: Any, **more: Any) -> Any:
        calls[name] += 1
        return method(*arguments, **more)

    return count_and_call


if __name__ == "__main__":
    counts_file = Path(sys.argv.pop(1))
    counts = count_calls()
    try:
        main()
    finally:
        counts_file.write_text(json.dumps(counts))
