"""The sink of the port: writes what is logged to a run into the agent's journals."""

from __future__ import annotations

import contextlib
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, NoReturn, Protocol

from runstream._points_journal import Point
from runstream.mlflow.known_runs import KnownRuns
from runstream.mlflow.known_runs import ParamChanged as Changed
from runstream_service.errors.core import ParamChange, ParamChanged
from runstream_service.http.mlflow_errors import MlflowError
from runstream_service.mlflow_port.callers import PortCaller, port_caller

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from runstream_service.core.caller import Caller
    from runstream_service.mlflow.metric_bodies import Metrics
    from runstream_service.mlflow_port.journals import SyncedJournals

# How many bodies are remembered, to recognise those that a client repeats because it did not get the response.
_MAX_BODIES = 10_000
_RETRY_AFTER_S = 5.0


class NeedsService(Exception):
    """A journal cannot store this request, so the service has to answer it."""


class ServiceAway(MlflowError):
    """The service cannot be reached. MLflow's clients repeat their request after this error."""

    def __init__(self, message: str) -> None:
        super().__init__("TEMPORARILY_UNAVAILABLE", message, retry_after_s=_RETRY_AFTER_S)


class FindsRuns(Protocol):
    """Looks up runs at the service."""

    async def params_of(self, caller: PortCaller, run_id: str) -> Mapping[str, str]:
        """The params of a run. Raises RunNotFound, RunDeleted, Unauthenticated, Forbidden, or ServiceAway if the
        service does not answer."""


class JournalSink:
    """Implements Sink of mlflow/run_writes.py."""

    def __init__(self, journals: SyncedJournals, service: FindsRuns) -> None:
        self._journals = journals
        self._service = service
        self._runs = KnownRuns()
        self._bodies: OrderedDict[bytes, None] = OrderedDict()

    async def check_models(self, caller: Caller, metrics: Metrics) -> NoReturn:
        """Raises NeedsService: journals have no records for metrics of models."""
        raise NeedsService

    async def check_run(self, caller: Caller, run_id: UUID) -> NoReturn:
        """Raises NeedsService: only the service knows."""
        raise NeedsService

    async def log_metrics(self, caller: Caller, run_id: UUID, metrics: Metrics, content: bytes) -> None:
        """Returns when the points are on disk."""
        asking = port_caller(caller)
        digest = hashlib.sha256(asking.key.encode() + run_id.bytes + content).digest()
        if digest in self._bodies:
            return
        await self._check(asking, run_id)
        await self._journals.log_points(asking, run_id.hex, _points(metrics.distinct()))
        self._bodies[digest] = None
        if len(self._bodies) > _MAX_BODIES:
            self._bodies.popitem(last=False)

    async def log_params(self, caller: Caller, run_id: UUID, params: Mapping[str, str]) -> None:
        """Returns when the params are on disk. Raises ParamChanged if this port knows another value of one. If only the
        service knows it, the service refuses the param later, and the agent's log reports that."""
        asking = port_caller(caller)
        await self._check(asking, run_id)
        try:
            self._runs.add_params(_known(asking, run_id), params)
        except Changed as error:
            changes = [ParamChange(key, stored, changed) for key, (stored, changed) in error.changes.items()]
            raise ParamChanged("a param has another value already", subject=run_id.hex, changes=changes) from error
        await self._journals.log_params(asking, run_id.hex, params)

    async def set_tags(self, caller: Caller, run_id: UUID, tags: Mapping[str, str]) -> None:
        """Returns when the tags are on disk."""
        asking = port_caller(caller)
        await self._check(asking, run_id)
        await self._journals.set_tags(asking, run_id.hex, tags)

    def forget(self) -> None:
        """Forgets what is known about runs, after some may have been deleted or restored."""
        self._runs.forget_all()

    async def _check(self, caller: PortCaller, run_id: UUID) -> None:
        """Looks up a run before its first write. If the service does not answer, the write is stored all the same, and
        the service may refuse it later."""
        key = _known(caller, run_id)
        if key in self._runs:
            return
        params: Mapping[str, str] = {}
        with contextlib.suppress(ServiceAway):
            params = await self._service.params_of(caller, run_id.hex)
        self._runs.learn(key, params)


def _known(caller: PortCaller, run_id: UUID) -> str:
    """The key of a run in KnownRuns. It includes the caller: one caller must not learn what another one has read."""
    return f"{caller.key} {run_id.hex}"


def _points(metrics: Metrics) -> Sequence[Point]:
    columns = zip(
        metrics.key,
        metrics.value.tolist(),
        metrics.step.tolist(),
        (metrics.timestamp_ms * 1_000).tolist(),
        strict=True,
    )
    return [Point(*row) for row in columns]
