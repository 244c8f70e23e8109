"""Helpers of the tests of the page's API."""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import runstream
from runstream_bench.http_client import Answer
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

Points = Mapping[str, Sequence[tuple[int, float]]]


@dataclass(frozen=True, slots=True)
class Web:
    """A service, and a caller of the page's API on it."""

    service: ServeProcess
    rest: Rest

    def get(self, path: str, **query: Any) -> Any:
        """Sends a GET; returns its JSON."""
        return self._fine(self.rest.get(path, query)).body

    def post(self, path: str, **fields: Any) -> Any:
        """Sends a POST; returns its JSON."""
        return self._fine(self.rest.post(path, fields)).body

    def arrays(self, path: str, **fields: Any) -> Decoded:
        """Sends a POST; returns its arrays."""
        return decode(self._fine(self.rest.post(path, fields)).content)

    def refusal(self, method: str, path: str, fields: Any = None) -> tuple[int, str, str]:
        """Status, code and field of an error."""
        answer = self.rest.get(path, fields or {}) if method == "GET" else self.rest.send(method, path, fields)
        error = answer.body["error"]
        return answer.status, error["code"], error.get("field", "")

    def make_experiment(self, name: str = "") -> str:
        """Makes an experiment; returns its id."""
        made = self.rest.post("/api/2.0/mlflow/experiments/create", {"name": name or uuid.uuid4().hex})
        return str(self._fine(made).body["experiment_id"])

    def make_run(self, experiment_id: str = "0", **fields: Any) -> str:
        """Makes a run; returns its id."""
        made = self.rest.post("/api/2.0/mlflow/runs/create", {"experiment_id": experiment_id, **fields})
        return str(self._fine(made).body["run"]["info"]["run_id"])

    def log(self, points: Points, run_id: str | None = None, *, experiment: str | None = None, **of_run: Any) -> str:
        """Logs points of some keys, as (step, value), with the real client; returns the id of the run. When this
        returns, they are committed."""
        run = runstream.start_run(experiment, run_id=run_id, address=self.service.grpc_address, **of_run)
        for key, values in points.items():
            for step, value in values:
                run.log({key: value}, step=step)
        run.finish(timeout=30)
        return run.run_id

    @staticmethod
    def _fine(answer: Answer) -> Answer:
        assert answer.status == 200, answer
        return answer


@dataclass(frozen=True, slots=True)
class Decoded:
    """The head, and for each curve its columns by name."""

    head: dict[str, Any]
    curves: list[dict[str, NDArray[np.float64]]]

    @property
    def names(self) -> list[tuple[Any, ...]]:
        """Run, key, rank and attempt of each curve."""
        return [tuple(curve[part] for part in ("run_id", "key", "rank", "attempt")) for curve in self.head["curves"]]


def decode(data: bytes) -> Decoded:
    """Reads an answer as docs/web-api.md describes it."""
    length, zero = struct.unpack("<II", data[:8])
    assert zero == 0
    assert length % 8 == 0
    head = json.loads(data[8 : 8 + length])
    at = 8 + length
    curves = []
    for curve in head["curves"]:
        columns = {}
        for column in head["columns"]:
            columns[column] = np.frombuffer(data, "<f8", curve["count"], at)
            at += 8 * curve["count"]
        curves.append(columns)
    assert at == len(data)
    return Decoded(head, curves)
