"""Turns an error into an answer of the page's API: which code, which field, what to do."""

from __future__ import annotations

import secrets

import orjson
import structlog
from starlette.responses import Response

from runstream_service.core import errors
from runstream_service.statuses import HTTP_STATUSES, patience_s, status_of

log = structlog.get_logger()


def answer_to(error: Exception, *, outcome_is_unknown: bool = False) -> Response:
    """The response for an exception of a handler, which may have had effects."""
    known = error if isinstance(error, errors.CoreError) else _internal(error)
    status = status_of(known)
    body = {"code": known.reason, "message": known.message}
    if known.field:
        body["field"] = known.field
    position = getattr(known, "position", None)
    response = Response(
        # An error may quote what a caller sent, even what is no text.
        orjson.dumps({"error": body if position is None else {**body, "position": position}}, default=str),
        HTTP_STATUSES[status.mlflow] if outcome_is_unknown else status.http_status,
        media_type="application/json",
    )
    if isinstance(known, errors.Retryable):
        wait_s = patience_s(known.away_s) if isinstance(known, errors.NotConnected) else known.retry_after_s
        response.headers["retry-after"] = str(max(1, round(wait_s)))
    return response


def _internal(bug: Exception) -> errors.CoreError:
    error_id = secrets.token_hex(4)
    log.error("A request failed for a bug in the service", action="http_failed", error_id=error_id, exc_info=bug)
    return errors.CoreError(f"internal error {error_id}; the service's log says more under this id")
