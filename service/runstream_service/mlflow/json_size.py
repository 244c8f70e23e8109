"""Estimates, before a JSON body is decoded, how much work that causes.

Decoding holds the interpreter until it is done: a second or more per million small lists, while long texts cost almost
nothing. So the values are counted first, and a body that may take more than some milliseconds is decoded in a thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from runstream_service.concurrency import threads
from runstream_service.http.mlflow_errors import invalid

T = TypeVar("T")

# The largest of MLflow's requests, a log-batch, has some 10,000 values and 1,200 objects; a search may list the ids of
# tens of thousands of experiments. Texts of any length count as one value.
MAX_VALUES = 50_000
MAX_CONTAINERS = 10_000

# A body up to these sizes is decoded on the event loop, which takes at most two milliseconds, whatever its content is.
_SMALL_BYTES, _SMALL_VALUES = 64 << 10, 500
_TINY_BYTES = 1 << 10
# Searching bytes does not let other threads run, so it is done in pieces of this size.
_PIECE_BYTES = 256 << 10
_COMMA, _BRACKET, _BRACE, _QUOTE = (ord(character) for character in ',[{"')
_NO_BACKSLASH = re.compile(rb"[^\\]")


async def in_thread_if_big(body: bytes, function: Callable[..., T], *arguments: object) -> T:
    """The result of a function that works on a body. Big bodies are processed one after the other in a single thread,
    since the event loop would wait twice as long for two threads that run Python.

    Raises:
        Overloaded: too many bodies wait for the thread.
    """
    if is_small(body):
        return function(*arguments)
    return await threads.PARSING.run(function, *arguments)


def is_small(body: bytes) -> bool:
    """Whether a body can be decoded on the event loop."""
    return len(body) <= _TINY_BYTES or (len(body) <= _SMALL_BYTES and sum(_upper_bounds(body)) <= _SMALL_VALUES)


def check_values(body: bytes) -> None:
    """Raises MlflowError if there are too many values in a body, or too many objects and lists."""
    if len(body) <= MAX_CONTAINERS:
        return
    values, containers = _upper_bounds(body)
    if values > MAX_VALUES or containers > MAX_CONTAINERS:
        values, containers = _exact_counts(body)  # texts may have commas and brackets in them
    for count, limit, what in ((values, MAX_VALUES, "values"), (containers, MAX_CONTAINERS, "objects and lists")):
        if count > limit:
            raise invalid(f"The request has {count:,} {what}; at most {limit:,} are allowed. Send it in parts.")


def _upper_bounds(body: bytes) -> tuple[int, int]:
    """Upper bounds of the number of values, and of the number of objects and lists."""
    commas = containers = 0
    for start in range(0, len(body), _PIECE_BYTES):
        end = start + _PIECE_BYTES
        containers += body.count(b"[", start, end) + body.count(b"{", start, end)
        commas += body.count(b",", start, end)
    return commas + containers, containers


def _exact_counts(body: bytes) -> tuple[int, int]:
    """The exact number of values, and of objects and lists; what is inside of texts does not count."""
    values = containers = start = 0
    in_text = 0
    while start < len(body):
        # A piece does not end in the middle of an escape.
        ends = _NO_BACKSLASH.search(body, min(start + _PIECE_BYTES, len(body)))
        end = ends.end() if ends else len(body)
        piece = body[start:end].replace(rb"\\", b"").replace(rb"\"", b"")
        characters = np.frombuffer(piece, np.uint8)
        inside = np.bitwise_xor.accumulate((characters == _QUOTE).view(np.uint8)) ^ in_text
        opening = (characters == _BRACKET) | (characters == _BRACE)
        outside = inside == 0
        opened = int(np.count_nonzero(opening & outside))
        values += opened + int(np.count_nonzero((characters == _COMMA) & outside))
        containers += opened
        in_text = int(inside[-1]) if len(inside) else in_text
        start = end
    return values, containers
