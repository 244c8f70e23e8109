"""Parses ids of runs in the requests of MLflow's clients."""

from __future__ import annotations

import json
import re
from uuid import UUID

from runstream_service.core import names
from runstream_service.errors.core import InvalidField, RunNotFound
from runstream_service.http.mlflow_errors import invalid
from runstream_service.mlflow.request import check_not_empty

_FORM = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}")


def parse_run_id(text: str) -> UUID:
    """The id of a run. An id that no run of this service can have is reported as not found.

    Raises:
        MlflowError: the id is missing.
        RunNotFound.
    """
    try:
        return names.parse_run_id(check_not_empty(text, "run_id"), field="run_id")
    except InvalidField as error:
        raise RunNotFound(error.message, field="run_id", subject=text[:256]) from error


def parse_run_id_strictly(text: str) -> UUID:
    """The id of a run, for log-batch and log-inputs, where MLflow refuses an id of a wrong form before it looks for the
    run. Raises MlflowError, RunNotFound."""
    if not _FORM.fullmatch(check_not_empty(text, "run_id")):
        raise invalid(f"Invalid value {json.dumps(text[:256])} for parameter 'run_id' supplied.")
    return parse_run_id(text)
