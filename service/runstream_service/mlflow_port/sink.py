"""The sink of the port: what is logged to a run goes into the agent's journals."""

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

# Bodies that were stored are recognised when a client repeats them because it lost the answer.
_MAX_BODIES = 10_000
_RETRY_AFTER_S = 5.0


class NeedsService(Exception):
    """A journal cannot take this request: the service has to answer it."""


class ServiceAway(MlflowError):
    """The service cannot be reached. A client of MLflow repeats its request."""

    def __init__(self, message: str) -> None:
        super().__init__("TEMPORARILY_UNAVAILABLE", message, retry_after_s=_RETRY_AFTER_S)


class FindsRuns(Protocol):
    """Asks the service for the params of a run."""

    async def params_of(self, caller: PortCaller, run_id: str) -> Mapping[str, str]:
        """Raises RunNotFound, RunDeleted, Unauthenticated, Forbidden; ServiceAway without an answer."""


class JournalSink:
    """A Sink of mlflow/run_writes.py."""

    def __init__(self, journals: SyncedJournals, service: FindsRuns) -> None:
        self._journals = journals
        self._service = service
        self._runs = KnownRuns()
        self._bodies: OrderedDict[bytes, None] = OrderedDict()

    async def check_models(self, caller: Caller, metrics: Metrics) -> NoReturn:
        """A metric of a model is two things: a point of the run, and a metric of the model."""
        raise NeedsService

    async def check_run(self, caller: Caller, run_id: UUID) -> NoReturn:
        """Asks the service."""
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
        """Returns when they are on disk. Raises ParamChanged if this port knows of another value; otherwise the service
        refuses it later, and the agent's log says so."""
        asking = port_caller(caller)
        await self._check(asking, run_id)
        try:
            self._runs.add_params(_known(asking, run_id), params)
        except Changed as error:
            changes = [ParamChange(key, stored, given) for key, (stored, given) in error.changes.items()]
            raise ParamChanged("a param has another value already", subject=run_id.hex, changes=changes) from error
        await self._journals.log_params(asking, run_id.hex, params)

    async def set_tags(self, caller: Caller, run_id: UUID, tags: Mapping[str, str]) -> None:
        """Returns when they are on disk."""
        asking = port_caller(caller)
        await self._check(asking, run_id)
        await self._journals.set_tags(asking, run_id.hex, tags)

    def forget(self) -> None:
        """Runs may have been deleted or restored: they are asked for again."""
        self._runs.forget_all()

    async def _check(self, caller: PortCaller, run_id: UUID) -> None:
        """Asks for a run once. Without an answer the write is taken: the service refuses it later if it must."""
        key = _known(caller, run_id)
        if key in self._runs:
            return
        params: Mapping[str, str] = {}
        with contextlib.suppress(ServiceAway):
            params = await self._service.params_of(caller, run_id.hex)
        self._runs.learn(key, params)


def _known(caller: PortCaller, run_id: UUID) -> str:
    """What one caller has read is not told to another one."""
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
