"""Turns an error into an answer of the page's API: which code, which field, what to do."""

from __future__ import annotations

import secrets
from typing import Any

import orjson
import structlog
from starlette.responses import Response

from runstream_service.errors import core as errors
from runstream_service.errors.statuses import HTTP_STATUSES, patience_s, status_of

log = structlog.get_logger()


def error_response(error: Exception, *, outcome_is_unknown: bool = False) -> Response:
    """The response for an exception of a handler, which may have had effects."""
    known = error if isinstance(error, errors.CoreError) else _internal(error)
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
    """What is said about an error."""
    body: dict[str, Any] = {"code": error.reason, "message": _storable(error.message)}
    if error.field:
        body["field"] = _storable(error.field)
    if isinstance(error, errors.InvalidField) and error.position is not None:
        body["position"] = error.position
    return {"error": body}


def _storable(text: str) -> str:
    """The text without what is no text, such as half of a surrogate pair, which a message may quote."""
    return text.encode(errors="replace").decode()


def _internal(bug: Exception) -> errors.CoreError:
    error_id = secrets.token_hex(4)
    log.error("A request failed for a bug in the service", action="http_failed", error_id=error_id, exc_info=bug)
    return errors.CoreError(f"internal error {error_id}; the service's log says more under this id")
