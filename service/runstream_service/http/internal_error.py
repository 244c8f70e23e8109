"""Reports an exception that nobody expected: the log has the traceback, the caller gets the id of that log line."""

from __future__ import annotations

import secrets

import structlog

from runstream_service.errors.core import CoreError

log = structlog.get_logger()


def internal_error(bug: Exception) -> CoreError:
    """Logs a bug in the service; returns the error for the caller."""
    error_id = secrets.token_hex(4)
    log.error("A request failed because of a bug in the service", action="http_failed", error_id=error_id, exc_info=bug)
    return CoreError(f"internal error {error_id}; the service's log has details under this id")
