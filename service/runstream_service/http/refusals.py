"""Answers to requests that are refused before they reach a route, in the form of the API that they are of."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Scope

from runstream_service.http.paths import is_web_api
from runstream_service.mlflow import errors as of_mlflow
from runstream_service.web import errors as of_web


def refused(scope: Scope, error: Exception) -> Response:
    """The answer to a request that ends with this error."""
    return of_web.error_response(error) if is_web_api(scope) else of_mlflow.error_response(error)
