"""Turns an error into a response in MLflow's form, with MLflow's own message where clients compare it."""

from __future__ import annotations

from starlette.responses import Response

from runstream_service.errors import core as errors
from runstream_service.errors.statuses import HTTP_STATUSES, patience_s, status_of
from runstream_service.http.internal_error import internal_error
from runstream_service.http.json_responses import json_response


class MlflowError(Exception):
    """An error with MLflow's code; handlers raise it for errors that only exist in MLflow's API."""

    def __init__(
        self, code: str, message: str, *, retry_after_s: float | None = None, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        self.status = HTTP_STATUSES[code] if status is None else status  # over HTTP


def invalid(message: str) -> MlflowError:
    """The error INVALID_PARAMETER_VALUE, the most frequent one."""
    return MlflowError("INVALID_PARAMETER_VALUE", message)


def not_found(message: str) -> MlflowError:
    """The error RESOURCE_DOES_NOT_EXIST."""
    return MlflowError("RESOURCE_DOES_NOT_EXIST", message)


def error_response(error: Exception, *, outcome_is_unknown: bool = False) -> Response:
    """The response for an exception of a handler. `outcome_is_unknown`: the handler may have changed something before
    it failed, so the status is not one that says that nothing was done."""
    known = mlflow_error_of(error)
    status = HTTP_STATUSES[known.code] if outcome_is_unknown else known.status
    response = json_response({"error_code": known.code, "message": known.message}, status=status)
    if known.retry_after_s is not None:
        # Whole seconds (RFC 9110, 10.2.3).
        response.headers["retry-after"] = str(max(1, round(known.retry_after_s)))
    return response


def mlflow_error_of(error: Exception) -> MlflowError:
    """The MlflowError for an exception of a handler. An unexpected exception is logged."""
    if isinstance(error, MlflowError):
        return error
    if isinstance(error, errors.CoreError):
        retry_after_s = error.retry_after_s if isinstance(error, errors.Retryable) else None
        if isinstance(error, errors.NotConnected):
            retry_after_s = patience_s(error.away_s)
        status = status_of(error)
        return MlflowError(
            status.mlflow, _mlflow_message(error), retry_after_s=retry_after_s, status=status.http_status
        )
    return mlflow_error_of(internal_error(error))


def _mlflow_message(error: errors.CoreError) -> str:
    """MLflow's message for an error, since clients and scripts compare some messages."""
    subject = error.subject
    if isinstance(error, errors.RunNotFound):
        return f"Run with id={subject} not found"
    if isinstance(error, errors.RunDeleted):
        return f"The run {subject} must be in the 'active' state. Current state is deleted."
    if isinstance(error, errors.ExperimentNotFound):
        return f"No Experiment with id={subject} exists"
    if isinstance(error, errors.ExperimentDeleted):
        return f"The experiment {subject} must be in the 'active' state. Current state is deleted."
    if isinstance(error, errors.ParamChanged):
        changes = [{"key": one.key, "old_value": one.stored, "new_value": one.new} for one in error.changes]
        return f"Changing param values is not allowed. Params were already logged='{changes}' for run ID='{subject}'."
    return error.message
