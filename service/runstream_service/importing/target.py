"""The service, as an import sees it. Every write may be repeated; failures that may pass are repeated here."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

import runstream
from runstream import _entries, errors
from runstream._settings import from_environment
from runstream.mlflow.address import http_url_here
from runstream.v1 import run_pb2, run_pb2_grpc
from runstream_service.core.names import MAX_ENTRIES
from runstream_service.importing.http import Http, persistently
from runstream_service.importing.records import SourceExperiment, SourceRun

_STATUSES = {
    "FINISHED": run_pb2.RUN_STATUS_FINISHED,
    "FAILED": run_pb2.RUN_STATUS_FAILED,
    "KILLED": run_pb2.RUN_STATUS_KILLED,
}
_CALL_BYTES = 256 * 1024  # params or tags in one call


class TargetExperiment(NamedTuple):
    """An experiment of the service."""

    experiment_id: str
    name: str
    tags: Mapping[str, str]
    created: bool


class Target:
    """Safe to share between threads. Methods raise RunstreamError."""

    def __init__(self, address: str | None) -> None:
        """`address` as all commands take it. Raises ValueError."""
        self.client = runstream.Client(address)
        self.endpoint = from_environment(address, os.environ).endpoint
        url = http_url_here(self.client.address, os.environ)
        tls = self.endpoint.tls
        verify: ssl.SSLContext | bool = True
        if url.startswith("https:") and (tls.ca or tls.cert):
            verify = ssl.create_default_context(cafile=tls.ca or None)
            if tls.cert:
                verify.load_cert_chain(tls.cert, tls.key)
        self.http = Http(url, dict(self.endpoint.metadata()), verify=verify)

    def check(self) -> None:
        """Raises RunstreamError if the service is not there, or the caller may not import."""
        me = persistently(self.client.who_am_i, patience_s=10.0)
        if me.role not in ("manage", "admin"):
            raise errors.PermissionDenied(
                f"{me.principal} has the role {me.role!r} in the workspace {me.workspace!r}, and an import needs "
                "'manage', as it sets times and ids, and deletes what is deleted in its source"
            )
        self.http.get("/web/api/me")

    def experiment(self, experiment: SourceExperiment) -> TargetExperiment:
        """Gets the experiment of this name or creates it."""
        body = {
            "name": experiment.name,
            "created_unix_us": experiment.created_unix_us,
            "updated_unix_us": experiment.updated_unix_us,
            "tags": dict(islice(experiment.tags.items(), MAX_ENTRIES)),
        }
        answer = self.http.post("/web/api/import/experiments", body)
        return TargetExperiment(answer["experiment_id"], answer["name"], answer["tags"], answer["created"])

    def find_run(self, run_id: str) -> runstream.RunInfo | None:
        """The run of this id, also a deleted one."""
        try:
            return persistently(lambda: self.client.get_run(run_id))
        except errors.NotFound:
            return None

    def create_run(self, run: SourceRun, experiment: str) -> runstream.RunInfo:
        """Creates a run that does not exist, without its end."""
        first_params, *more_params = _pieces(run.params) or [{}]
        first_tags, *more_tags = _pieces(run.tags) or [{}]
        request = run_pb2.CreateRunRequest(
            run_id=run.run_id,
            experiment=experiment,
            name=run.name,
            user=run.user,
            start_time_unix_us=run.start_unix_us,
            params=first_params,
            tags=first_tags,
        )
        self._call("CreateRun", request)
        for piece in more_params:
            self.add_params(run.run_id, piece)
        for piece in more_tags:
            self.add_tags(run.run_id, piece)
        return persistently(lambda: self.client.get_run(run.run_id))

    def add_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Writes params."""
        for piece in _pieces(params):
            self._call("LogParams", run_pb2.LogParamsRequest(run_id=run_id, params=piece))

    def add_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Writes tags."""
        for piece in _pieces(tags):
            self._call("SetTags", run_pb2.SetTagsRequest(run_id=run_id, tags=piece))

    def end_run(self, run: SourceRun) -> None:
        """Gives a run the status and end that it has in its source."""
        if run.status in _STATUSES:
            end_unix_us = run.end_unix_us or run.start_unix_us
            request = run_pb2.FinishRunRequest(
                run_id=run.run_id, status=_STATUSES[run.status], end_time_unix_us=end_unix_us
            )
            self._call("FinishRun", request)
        elif run.status == "SCHEDULED":
            self.http.post("/api/2.0/mlflow/runs/update", {"run_id": run.run_id, "status": "SCHEDULED"})

    def delete_run(self, run_id: str) -> None:
        """Deletes it, as `runstream delete` does."""
        persistently(lambda: self.client.delete_run(run_id))

    def delete_experiment(self, experiment_id: str) -> None:
        """Deletes it with its runs."""
        self.http.post("/api/2.0/mlflow/experiments/delete", {"experiment_id": experiment_id})

    def close(self) -> None:
        """Closes connections."""
        self.http.close()
        self.client.close()

    def _call(self, method: str, request: Any) -> Any:
        return persistently(lambda: self.client._call(run_pb2_grpc.RunServiceStub, method, request))


def _pieces(entries: Mapping[str, str]) -> list[dict[str, str]]:
    """Params or tags in pieces that a call takes."""
    return list(_entries.pieces(entries, _CALL_BYTES))
