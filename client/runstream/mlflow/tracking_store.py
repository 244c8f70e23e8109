"""MLflow's RestStore, whose writes of metrics, params and tags go into the journal, and whose reads wait for them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlflow.entities import LifecycleStage, RunStatus
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE
from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.async_logging.run_operations import RunOperations
from mlflow.utils.rest_utils import http_request, verify_rest_response

from runstream._points_journal import Point
from runstream.mlflow.entries import checked_batch, checked_param, checked_point, checked_tag, param_changed
from runstream.mlflow.known_runs import KnownRuns, ParamChanged
from runstream.mlflow.sink import MetricSink

logger = logging.getLogger("runstream")

# The first write to a run that this process neither created nor read asks once whether it exists, for this long.
_LOOKUP_TIMEOUT_S = 5


class RunstreamStore(RestStore):  # type: ignore[misc]  # types of MLflow are not followed
    """Signatures and results are those of RestStore. Writes return at once, as a thread writes them to the journal, and
    never fail because the service is away. Metrics of a logged model go over HTTP, as each is both a point of the
    run and a metric of the model."""

    def __init__(self, get_host_creds: Callable[[], Any], sink: MetricSink) -> None:
        super().__init__(get_host_creds)
        self._sink = sink
        self._runs = KnownRuns()

    # -- writes into the journal -------------------------------------------------------------------------------------

    def log_metric(self, run_id: str, metric: Any) -> None:
        if _model_of(metric):
            super().log_metric(run_id, metric)
            return
        point = checked_point(metric)
        self._check_run(run_id)
        self._sink.log_points(run_id, (point,))

    def log_param(self, run_id: str, param: Any) -> None:
        key, value = checked_param(param)
        self._check_run(run_id)
        self._log_params(run_id, {key: value}, in_batch=False)

    def set_tag(self, run_id: str, tag: Any) -> None:
        key, value = checked_tag(tag)
        self._check_run(run_id)
        self._sink.set_tags(run_id, {key: value})

    def log_batch(self, run_id: str, metrics: Sequence[Any], params: Sequence[Any], tags: Sequence[Any]) -> None:
        points, new_params, new_tags = checked_batch(metrics, params, tags)
        self._check_run(run_id)
        if new_params:
            self._log_params(run_id, new_params, in_batch=True)
        self._log_metrics(run_id, metrics, points)
        if new_tags:
            self._sink.set_tags(run_id, new_tags)

    def log_batch_async(
        self, run_id: str, metrics: Sequence[Any], params: Sequence[Any], tags: Sequence[Any]
    ) -> RunOperations:
        """Writes into the journal at once, as a synchronous call does. Waiting for the operation waits for the service;
        as in MLflow, an error is raised there, and only logged here."""
        if any(map(_model_of, metrics)):
            return super().log_batch_async(run_id, metrics=metrics, params=params, tags=tags)
        try:
            self.log_batch(run_id, metrics, params, tags)
        except Exception as error:
            logger.error("run %s: %s", run_id, error)
            return RunOperations([_Operation(_raiser(error))])
        return RunOperations([_Operation(lambda: self._flush(run_id))])

    def _log_metrics(self, run_id: str, metrics: Sequence[Any], points: Sequence[Point]) -> None:
        of_models = [metric for metric in metrics if _model_of(metric)]
        if of_models:
            super().log_batch(run_id, metrics=of_models, params=[], tags=[])
            points = [point for metric, point in zip(metrics, points, strict=True) if not _model_of(metric)]
        if points:
            self._sink.log_points(run_id, points)

    def _log_params(self, run_id: str, params: Mapping[str, str], *, in_batch: bool) -> None:
        try:
            self._runs.add_params(run_id, params)
        except ParamChanged as error:
            raise param_changed(run_id, error.changes, in_batch=in_batch) from None
        self._sink.log_params(run_id, params)

    # -- which runs exist --------------------------------------------------------------------------------------------

    def _check_run(self, run_id: str) -> None:
        """Raises MLflow's error for a run that does not exist or is deleted, if that is known or can be asked."""
        if run_id not in self._runs:
            self._look_up(run_id)

    def _look_up(self, run_id: str) -> None:
        """Asks for the run once. Without an answer the write is accepted, and the service may refuse it later."""
        try:
            response = http_request(
                self.get_host_creds(),
                "/api/2.0/mlflow/runs/get",
                "GET",
                params={"run_id": run_id},
                timeout=_LOOKUP_TIMEOUT_S,
                max_retries=0,
                raise_on_status=False,
            )
        except Exception as error:
            logger.debug("run %s: the service cannot be asked for it: %s", run_id, error)
            self._runs.learn(run_id, {})
            return
        if response.status_code >= 500 or response.status_code in (408, 429):
            self._runs.learn(run_id, {})
            return
        run = verify_rest_response(response, "/api/2.0/mlflow/runs/get").json()["run"]
        if run["info"].get("lifecycle_stage") == LifecycleStage.DELETED:
            raise MlflowException(
                f"The run {run_id} must be in the 'active' state. Current state is deleted.", INVALID_PARAMETER_VALUE
            )
        self._runs.learn(run_id, {param["key"]: param["value"] for param in run["data"].get("params", [])})

    def _learn(self, run: Any) -> Any:
        if run.info.lifecycle_stage == LifecycleStage.ACTIVE:
            self._runs.learn(run.info.run_id, run.data.params)
        return run

    def create_run(self, *args: Any, **kwargs: Any) -> Any:
        return self._learn(super().create_run(*args, **kwargs))

    # -- reads of one's own writes -----------------------------------------------------------------------------------

    def get_run(self, run_id: str) -> Any:
        self._flush(run_id)
        return self._learn(super().get_run(run_id))

    def get_metric_history(
        self, run_id: str, metric_key: str, max_results: int | None = None, page_token: str | None = None
    ) -> Any:
        self._flush(run_id)
        return super().get_metric_history(run_id, metric_key, max_results=max_results, page_token=page_token)

    def _search_runs(self, *args: Any, **kwargs: Any) -> Any:
        self._flush_all()
        return super()._search_runs(*args, **kwargs)

    def delete_tag(self, run_id: str, key: str) -> None:
        self._flush(run_id)
        super().delete_tag(run_id, key)

    def update_run_info(self, run_id: str, run_status: Any, end_time: Any, run_name: Any) -> Any:
        """Ends the run even if its journal is not sent in time, as a run that has ended still accepts points."""
        arrived = self._flush_or_warn(run_id)
        info = super().update_run_info(run_id, run_status, end_time, run_name)
        if arrived and run_status is not None and RunStatus.is_terminated(run_status):
            self._sink.close(run_id)
        return info

    def delete_run(self, run_id: str) -> None:
        self._flush_or_warn(run_id)
        super().delete_run(run_id)
        self._runs.forget(run_id)
        self._sink.close(run_id)

    def restore_run(self, run_id: str) -> None:
        super().restore_run(run_id)
        self._runs.forget(run_id)

    def delete_experiment(self, experiment_id: str) -> None:
        for run_id in self._sink.pending():
            self._flush_or_warn(run_id)
        super().delete_experiment(experiment_id)
        self._runs.forget_all()

    def flush_async_logging(self) -> None:
        super().flush_async_logging()
        self._flush_all()

    def _flush_all(self) -> None:
        for run_id in self._sink.pending():
            self._flush(run_id)

    def _flush(self, run_id: str) -> None:
        """Waits until the service has stored what this process has logged for a run. Raises MlflowException if that
        takes longer than a request of MLflow may take."""
        timeout_s = MLFLOW_HTTP_REQUEST_TIMEOUT.get()
        if not self._sink.flush(run_id, timeout_s):
            raise MlflowException(
                f"Metrics, params or tags of run {run_id} did not reach the service within {timeout_s} s, so the "
                "result would lack them. They are in the journal and are sent when the service can be reached; "
                "`runstream doctor` says what is wrong.",
                TEMPORARILY_UNAVAILABLE,
            )

    def _flush_or_warn(self, run_id: str) -> bool:
        timeout_s = MLFLOW_HTTP_REQUEST_TIMEOUT.get()
        arrived = self._sink.flush(run_id, timeout_s)
        if not arrived:
            logger.warning(
                "run %s: metrics, params or tags did not reach the service within %s s; they are in the journal and "
                "are sent when it can be reached",
                run_id,
                timeout_s,
            )
        return arrived


def _model_of(metric: Any) -> str | None:
    """The id of the model that a metric belongs to; None if there is none, as in MLflow 2."""
    return getattr(metric, "model_id", None)


class _Operation:
    """The part of a future's interface that MLflow uses."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self._wait = wait

    def result(self, timeout: float | None = None) -> None:
        self._wait()


def _raiser(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail
