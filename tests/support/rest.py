"""MLflow's REST API by hand: what a client library would not send, and answers as they are."""

from __future__ import annotations

from runstream_bench.http_client import HttpClient


class Rest(HttpClient):
    """A caller of one server, over one connection that is kept.

    rest.post("runs/create", {"experiment_id": "0"}).body["run"]
    """

    def __init__(self, url: str, *, prefix: str = "/api/2.0/mlflow/", token: str = "") -> None:
        super().__init__(url, prefix=prefix, token=token)
