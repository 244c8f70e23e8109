"""Structured logs to stderr: JSON lines for machines, coloured text on a terminal.

Every record has a stable `action` to search and alert on, and a message for people:

    log.info("The service is ready", action="service_ready", grpc=address)
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from runstream._masking import mask_secrets

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("auto", "json", "text")


def configure(*, level: str = "info", format: str = "auto", stream: TextIO | None = None) -> None:
    """Sets up structlog, and the standard library's logging, which grpc, uvicorn and asyncpg use. `level` is one of
    LEVELS, `format` one of FORMATS; `stream` is stderr by default."""
    output = stream or sys.stderr
    as_json = format == "json" or (format == "auto" and not output.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # tests capture logs of loggers that were used before
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, _library_record],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *(_json_renderers() if as_json else _text_renderers(colors=output.isatty())),
        ],
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    # Their INFO records are about their own state; requests are counted in the metrics.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "grpc"):
        logging.getLogger(name).setLevel(max(logging.getLevelName(level.upper()), logging.WARNING))


def _json_renderers() -> list[Processor]:
    return [
        # Without local variables: they contain callers' data and secrets, and make every record a page long.
        structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
        _mask,
    ]


def _text_renderers(*, colors: bool) -> list[Processor]:
    return [
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback),
        _mask,
    ]


def _library_record(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Gives records of libraries an action, and the name of the library."""
    record: logging.LogRecord = event["_record"]
    event.setdefault("action", "library_message")
    event["logger"] = record.name
    return event


def _mask(_logger: WrappedLogger, _method: str, line: EventDict | str) -> str:
    """Masks the finished line, so that no nested value and no traceback is missed."""
    return mask_secrets(str(line))
