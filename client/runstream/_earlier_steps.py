"""Notices steps that an earlier process has logged already as the same rank and attempt of the run: a job that was
restarted from a checkpoint without raising its attempt. Later, nothing distinguishes the two values of such a step.
"""

from __future__ import annotations

from typing import Any

from runstream._notices import Notices
from runstream.v1 import query_pb2, query_pb2_grpc

_MAX_SERIES = 100_000  # examine at most this many series of the run; repeated steps of others are not noticed


class EarlierSteps:
    """Compares the first step of each key in this process with its last step of earlier ones, in any order of arrival.

    Each side stores its own step before it reads the other one, so that no pair is missed between two threads.
    """

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._first: dict[str, int] = {}
        self._last: dict[str, int] = {}

    def starts(self, key: str, step: Any) -> None:
        """The sender has packed the first point of a key."""
        if type(step) is int:
            self._first[key] = step
            self._compare(key)

    def ended(self, last: dict[str, int]) -> None:
        """The last steps of an earlier process are known."""
        self._last = last
        for key in list(self._first):
            self._compare(key)

    def _compare(self, key: str) -> None:
        first, last = self._first[key], self._last.get(key)
        if last is not None and first <= last:
            self._notices.once(
                "earlier steps",
                "metric %r starts at step %d, but an earlier process logged it up to step %d as the same rank and "
                "attempt. Both values of such a step are kept, and charts show both. When a job is restarted, raise "
                "its attempt (RUNSTREAM_ATTEMPT, or start_run(attempt=...)): the newest attempt wins from its first "
                "step on",
                key,
                first,
                last,
            )


def start_reading(channel: Any, run_id: str, timeout_s: float) -> Any:
    """Starts the call for the latest points of a run; it can be cancelled from another thread."""
    return query_pb2_grpc.QueryServiceStub(channel).Latest(query_pb2.LatestRequest(run_ids=[run_id]), timeout=timeout_s)


def last_steps(call: Any, rank: int, attempt: int) -> dict[str, int]:
    """The last step of each key of one rank and attempt, from the call of `start_reading`."""
    last: dict[str, int] = {}
    seen = 0
    for response in call:
        for key, its_rank, its_attempt, step in zip(
            response.key_index, response.rank, response.attempt, response.step, strict=True
        ):
            if (its_rank, its_attempt) == (rank, attempt):
                last[response.keys[key]] = step
        seen += response.point_count
        if seen > _MAX_SERIES:
            call.cancel()
            break
    return last
