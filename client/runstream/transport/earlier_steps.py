"""Finds steps that an earlier process has already logged as the same rank and attempt of the run: a job was restarted
from a checkpoint without raising its attempt. Once stored, nothing distinguishes the two values of such a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runstream._credentials import Metadata
from runstream.transport.producer import Batch
from runstream.v1 import query_pb2

METHOD = "/runstream.v1.QueryService/Latest"
_MAX_SERIES = 100_000  # compare at most this many series of the run; repeated steps of others are not found


class EarlierSteps:
    """Compares the first step of each key in this journal with the last step of earlier processes."""

    def __init__(self, last: Mapping[str, int]) -> None:
        self._last = dict(last)  # for the keys whose first step was not seen yet

    @property
    def done(self) -> bool:
        """Whether there is nothing left to compare."""
        return not self._last

    def repeated(self, batch: Batch, keys: Mapping[int, str]) -> tuple[str, int, int] | None:
        """The first key that begins at a step that was logged before, with that step and the last step of the earlier
        processes; None if there is no such key. `keys`: series index to key."""
        steps = memoryview(batch.step).cast("q")
        for index, step in zip(memoryview(batch.series_index).cast("I"), steps, strict=True):
            last = self._last.pop(keys.get(index, ""), None)
            if last is not None and step <= last:
                self._last.clear()
                return keys[index], step, last
        return None


def last_steps(
    channel: Any, run_id: str, rank: int, attempt: int, timeout_s: float, metadata: Metadata
) -> dict[str, int]:
    """The last step of each key of one rank and attempt. Raises grpc.RpcError."""
    call = channel.unary_stream(
        METHOD,
        request_serializer=query_pb2.LatestRequest.SerializeToString,
        response_deserializer=query_pb2.LatestResponse.FromString,
    )(query_pb2.LatestRequest(run_ids=[run_id]), timeout=timeout_s, metadata=metadata)
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
