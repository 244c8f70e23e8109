"""Log records: their format, secrets, and messages of libraries."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from runstream._masking import mask_secrets
from runstream_service.monitoring import logs


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    """Restores the logging of pytest."""
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    ours = structlog.get_config()
    yield
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    structlog.configure(**ours)


def records(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_record_has_action_message_level_and_time() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    structlog.get_logger().info("It happened", action="thing_happened", count=3)
    (record,) = records(stream)
    assert record.pop("timestamp").endswith("Z")
    assert record == {"message": "It happened", "action": "thing_happened", "level": "info", "count": 3}


def test_loggers_made_before_the_configuration_follow_it() -> None:
    early = structlog.get_logger()
    stream = io.StringIO()
    logs.configure(stream=stream, level="error")
    early.warning("no", action="x")
    early.error("yes", action="x")
    assert [record["message"] for record in records(stream)] == ["yes"]


def test_records_of_libraries_get_an_action_and_keep_their_traceback() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        logging.getLogger("asyncpg.pool").exception("it broke %s", "badly")
    (record,) = records(stream)
    assert (record["message"], record["action"]) == ("it broke badly", "library_message")
    assert record["logger"] == "asyncpg.pool"
    assert record["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_text_form_is_readable() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream, format="text")
    structlog.get_logger().warning("Look out", action="look_out")
    assert "Look out" in stream.getvalue()
    assert "action=look_out" in stream.getvalue()


@pytest.mark.parametrize(
    "secret",
    [
        "postgresql://me:hunter2@db:5432/x",
        "postgres://me:hunter2@/x?host=/tmp",
        "postgresql://me:p:hunter2@db/x",
        "postgresql://db/x?user=me&password=hunter2&sslmode=require",
        "cannot connect to 'postgresql://:hunter2@db/x', giving up",
    ],
)
@pytest.mark.parametrize("form", ["json", "text"])
def test_passwords_are_masked_wherever_they_stand(secret: str, form: str) -> None:
    stream = io.StringIO()
    logs.configure(stream=stream, format=form)
    log = structlog.get_logger()
    log.info(secret, action="x", url=secret, nested={"deep": [secret]}, error=ValueError(secret))
    try:
        raise ValueError(secret)
    except ValueError:
        log.exception("failed", action="x")
        logging.getLogger("asyncpg").exception("failed: %s", secret)
    assert "hunter2" not in stream.getvalue()
    assert "***" in stream.getvalue()


def test_masking_leaves_other_text_alone() -> None:
    text = "GET http://127.0.0.1:5000/metrics took 3:04, mail a:b@c"
    assert mask_secrets(text) == text
