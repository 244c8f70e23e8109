"""Calls to the model registry, and its messages."""

from __future__ import annotations

from typing import Any

from runstream_bench.http_client import Answer
from tests.support.rest import Rest

INVALID, MISSING, TAKEN = "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"
SOURCE = "s3://bucket/model"
MODELS, VERSIONS = "registered-models", "model-versions"


def new_version(rest: Rest, name: str, **fields: Any) -> dict[str, Any]:
    answer = rest.post(f"{VERSIONS}/create", {"name": name, "source": SOURCE, **fields})
    assert answer.status == 200, answer.content
    version: dict[str, Any] = answer.body["model_version"]
    return version


def call(rest: Rest, method: str, path: str, fields: dict[str, Any]) -> Answer:
    """Sends a request; the fields of a GET are its query."""
    return rest.get(path, fields) if method == "GET" else rest.send(method, path, fields)
