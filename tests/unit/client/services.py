"""What the client's tests ask of a service: the reference service and the real one both have it, so that a test may run
against either."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

import grpc

from runstream.v1 import ingest_pb2, ingest_pb2_grpc, run_pb2, run_pb2_grpc
from tests.unit.client.ledger import Point


class Service(Protocol):
    """A service that listens, and what it has stored for this test."""

    port: int

    @property
    def address(self) -> str:
        """Where it listens, as clients are told."""

    def stop(self) -> None:
        """Breaks every connection; new ones are refused."""

    def start(self) -> None:
        """Listens again, on the same port."""

    def points(self) -> list[Point]:
        """All points. Those of one series are in the order of their steps, with equal ones side by side."""

    def values(self, key: str) -> list[float]:
        """The values of the points with this key, in the same order."""

    def all_runs(self) -> list[run_pb2.Run]:
        """All runs, deleted ones too."""

    def run(self, run_id: str) -> run_pb2.Run:
        """One run. Raises LookupError if there is none with this id."""

    def producers(self) -> Collection[str]:
        """The ids of all producers that have opened a stream, as hex digits."""

    def opens(self) -> int:
        """How often producers were opened."""

    def delete_run(self, run_id: str) -> None:
        """Deletes a run as users do: it can be restored."""

    def restore_run(self, run_id: str) -> None:
        """Restores a run that was deleted."""

    def restore_database(self, *, with_runs: bool = True) -> int:
        """Goes back to a state without any point, as a database does that is restored from a backup; how many points
        that lost. `with_runs`: the runs existed at that time. Call it while the service is stopped."""


def store(address: str, name: str, points: Sequence[Point]) -> str:
    """Stores points of a new run through the API of the service; returns the id of the run."""
    run_id = uuid.uuid4().hex
    with grpc.insecure_channel(address) as channel:
        runs = run_pb2_grpc.RunServiceStub(channel)
        runs.CreateRun(run_pb2.CreateRunRequest(run_id=run_id, experiment="e", name=name), timeout=60)
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        for rank, attempt in sorted({point[4:] for point in points}):
            part = [point for point in points if point[4:] == (rank, attempt)]
            *_, last = stub.Append(_messages(run_id, rank, attempt, part), timeout=60)
            assert last.ack.committed_number == 1
            assert not last.ack.refusals
    return run_id


def _messages(run_id: str, rank: int, attempt: int, points: Sequence[Point]) -> Iterator[ingest_pb2.AppendRequest]:
    """The stream of a producer with one batch."""
    keys = sorted({point[0] for point in points})
    yield ingest_pb2.AppendRequest(
        open=ingest_pb2.Open(run_id=run_id, producer_id=uuid.uuid4().bytes, rank=rank, attempt=attempt, first_unacked=1)
    )
    declared = [ingest_pb2.SeriesDeclaration(series_index=index, key=key) for index, key in enumerate(keys)]
    yield ingest_pb2.AppendRequest(declare=ingest_pb2.Declare(series=declared))
    yield ingest_pb2.AppendRequest(
        batch=ingest_pb2.Batch(
            number=1,
            point_count=len(points),
            series_index=[keys.index(point[0]) for point in points],
            step=[point[1] for point in points],
            time_unix_us=[point[2] for point in points],
            value=[point[3] for point in points],
        )
    )
