"""One /metrics for all processes of a replica.

Each process counts in its own registry. For a scrape, the supervisor collects the samples of all of them and adds them
up. (prometheus_client has a mode for several processes, in which they share files. It does not support our own
collectors, nor gauges that are functions, and every increment writes to a file.)

Counters never go down, or a rate would show an increase that did not happen: what a worker had counted when it was
collected last stays in the sums after its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

# Gauges whose sum would mean nothing: of these, the smallest or the largest value of all processes is shown. All other
# gauges are added up.
LEAST = frozenset(
    {
        "runstream_ready",
        "runstream_database_up",
        "process_start_time_seconds",
        "runstream_tls_certificate_expiry_timestamp_seconds",
    }
)
GREATEST = frozenset(
    {
        "runstream_build_info",
        "python_info",
        "runstream_ingest_held",
        "runstream_queue_oldest_seconds",
        "runstream_tls_files_refused",
    }
)
_CUMULATIVE = frozenset({"counter", "histogram"})

# Families as JSON: name, help, type, and the samples with their names, labels and values.
Samples: TypeAlias = list[tuple[str, str, str, list[tuple[str, dict[str, str], float]]]]


def samples_of(registry: CollectorRegistry) -> Samples:
    """What this process has counted until now."""
    return [
        (
            metric.name,
            metric.documentation,
            metric.type,
            [(sample.name, sample.labels, sample.value) for sample in metric.samples],
        )
        for metric in registry.collect()
    ]


class Sums:
    """Samples of several processes, added up. It has the method that prometheus_client's encoders call of a
    registry."""

    def __init__(self, of: Iterable[Samples] = ()) -> None:
        self._families: dict[str, tuple[str, str]] = {}
        self._values: dict[str, dict[tuple[str, frozenset[tuple[str, str]]], tuple[dict[str, str], float]]] = {}
        for samples in of:
            self.add(samples)

    def add(self, samples: Samples) -> None:
        """Adds the samples of one more process."""
        for name, help_text, kind, values in samples:
            self._families.setdefault(name, (help_text, kind))
            known = self._values.setdefault(name, {})
            combine: Callable[[float, float], float] = min if name in LEAST else max if name in GREATEST else _add
            for sample, labels, value in values:
                key = (sample, frozenset(labels.items()))
                earlier = known.get(key)
                known[key] = (labels, value if earlier is None else combine(earlier[1], value))

    def add_ended(self, samples: Samples) -> None:
        """Adds the counters and histograms of a process that has ended, and leaves out its gauges."""
        self.add([family for family in samples if family[2] in _CUMULATIVE])

    def samples(self) -> Samples:
        """The sums, in the form in which `add` takes samples."""
        return [
            (name, *family, [(sample, labels, value) for (sample, _), (labels, value) in self._values[name].items()])
            for name, family in self._families.items()
        ]

    def collect(self) -> Iterator[Metric]:
        """The sums, in the form that prometheus_client's encoders read."""
        for name, help_text, kind, values in self.samples():
            metric = Metric(name, help_text, kind)
            for sample, labels, value in values:
                metric.add_sample(sample, labels, value)
            yield metric


def _add(one: float, other: float) -> float:
    return one + other


class CombinedMetrics:
    """The metrics of the supervisor and of its workers, by their numbers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._last: dict[int, Samples] = {}
        self._ended = Sums()

    def remember(self, worker: int, samples: Samples) -> None:
        """Keeps what a worker reported just before it ended."""
        self._last[worker] = samples

    def ended(self, worker: int) -> None:
        """Moves what a worker has counted to the sums of those that have ended, before another one gets its number."""
        self._ended.add_ended(self._last.pop(worker, []))

    async def render(
        self, accept: str, workers: dict[int, Callable[[], Awaitable[Samples | None]]]
    ) -> tuple[bytes, str]:
        """All metrics and their content type, in the format that the Accept header asks for. `workers` has, for each
        worker that runs, a function that asks it for its samples; if that returns None, the last samples count."""
        answers = await asyncio.gather(*(ask() for ask in workers.values()))
        for worker, samples in zip(workers, answers, strict=True):
            if samples is not None and worker in workers:
                self._last[worker] = samples
        sums = Sums([samples_of(self._registry), self._ended.samples(), *self._last.values()])
        encode, content_type = choose_encoder(accept)
        registry: Any = sums
        return encode(registry), content_type
