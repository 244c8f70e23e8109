"""Large answers count until they are sent, or their reader is gone."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.responses import Response

from runstream_service.errors.core import Overloaded
from runstream_service.web.large_answers import LARGE_BYTES, LargeAnswers

HEADERS = {"content-type": "application/octet-stream"}


async def received(response: Response, taken: asyncio.Event) -> tuple[dict[bytes, bytes], bytes]:
    parts: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        parts.append(message)
        await taken.wait()

    await response({"type": "http", "method": "POST"}, None, send)  # type: ignore[arg-type]  # nothing is received
    return dict(parts[0]["headers"]), b"".join(part["body"] for part in parts[1:])


async def test_a_large_answer_holds_its_room_until_it_is_sent_in_pieces() -> None:
    answers, taken, data = LargeAnswers(max_bytes=2 * LARGE_BYTES), asyncio.Event(), bytes(range(256)) * 6_000
    sending = asyncio.create_task(received(answers.response(data, HEADERS), taken))
    with pytest.raises(Overloaded):
        answers.response(data, HEADERS)
    answers.response(b"small", HEADERS)
    taken.set()
    headers, body = await sending
    assert (headers[b"content-length"], headers[b"content-type"]) == (b"%d" % len(data), b"application/octet-stream")
    assert body == data
    cancelled = asyncio.create_task(received(answers.response(data, HEADERS), asyncio.Event()))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    answers.response(data, HEADERS)
