"""Responses to requests that are refused before they reach a route."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Scope

from runstream_service.http import mlflow_errors, page_errors
from runstream_service.http.paths import is_web_api


def refused(scope: Scope, error: Exception) -> Response:
    """The response to a request that ends with this error, in the form of the API that it was sent to."""
    return page_errors.error_response(error) if is_web_api(scope) else mlflow_errors.error_response(error)
