"""Turns an error into a response of the page's API: which code, which field, what to do."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response

from runstream_service.errors import core as errors
from runstream_service.errors.statuses import HTTP_STATUSES, patience_s, status_of
from runstream_service.http.internal_error import internal_error


def error_response(error: Exception, *, outcome_is_unknown: bool = False) -> Response:
    """The response for an exception of a handler. `outcome_is_unknown`: the handler may have changed something before
    it failed, so the status is not one that says that nothing was done."""
    known = error if isinstance(error, errors.CoreError) else internal_error(error)
    status = status_of(known)
    response = Response(
        orjson.dumps(body_of(known)),
        HTTP_STATUSES[status.mlflow] if outcome_is_unknown else status.http_status,
        media_type="application/json",
    )
    if isinstance(known, errors.Retryable):
        wait_s = patience_s(known.away_s) if isinstance(known, errors.NotConnected) else known.retry_after_s
        response.headers["retry-after"] = str(max(1, round(wait_s)))
    return response


def body_of(error: errors.CoreError) -> dict[str, Any]:
    """The JSON object for an error."""
    body: dict[str, Any] = {"code": error.reason, "message": _storable(error.message)}
    if error.field:
        body["field"] = _storable(error.field)
    if isinstance(error, errors.InvalidField) and error.position is not None:
        body["position"] = error.position
    return {"error": body}


def _storable(text: str) -> str:
    """The text with a question mark in place of what UTF-8 cannot encode: a message may quote half a surrogate pair."""
    return text.encode(errors="replace").decode()
