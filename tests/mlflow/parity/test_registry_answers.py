"""The model registry, side by side with a stock server; and bad input, where stock answers 500 or stores it."""

from __future__ import annotations

import uuid
from typing import Any

from runstream_bench.http_client import Answer
from tests.mlflow.registry import INVALID, MISSING, MODELS, SOURCE, VERSIONS, call, new_version
from tests.support.rest import Rest

# Text that differs between any two servers.
_TIMES = ("creation_timestamp", "last_updated_timestamp")

# Method, path and body or query: the same sequence to both. `m` is an own name for each test run.
SAME: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", f"{MODELS}/create", {"name": "m", "description": "d", "tags": [{"key": "a", "value": "1"}, {"key": "b"}]}),
    ("POST", f"{MODELS}/create", {"name": "m"}),
    ("POST", f"{MODELS}/create", {"name": "m2", "tags": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]}),
    *(("POST", f"{MODELS}/create", {"name": name}) for name in ("", "  ", "a/b", "a:b", ".", "..", "..x", 5)),
    ("POST", f"{MODELS}/create", {"name": "m3", "tags": [{"key": "", "value": "1"}]}),
    ("POST", f"{MODELS}/create", {"name": "m3", "tags": "a"}),
    ("GET", f"{MODELS}/get", {"name": "m"}),
    ("GET", f"{MODELS}/get", {"name": "nobody"}),
    ("GET", f"{MODELS}/get", {}),
    ("POST", f"{VERSIONS}/create", {"name": "m", "source": SOURCE}),
    (
        "POST",
        f"{VERSIONS}/create",
        {
            "name": "m",
            "source": SOURCE,
            "run_id": "r",
            "run_link": "l",
            "description": "d",
            "tags": [{"key": "k", "value": "v"}],
        },
    ),
    *(
        ("POST", f"{VERSIONS}/create", {"name": "m", "source": source})
        for source in (
            *("/tmp/x", "x", "file:///tmp/x", "s3://b/../x", "s3://b/%252e%252e/x", "s3://b", "s3:x", "s3://b/./x"),
            *("s3://b//x/", "runs:/abc/model", "runs://h/abc", "models:/m/2", "models:/m/latest", "models:/m@nobody"),
            *("models:/m/Nowhere", "models:/m/99", "models:/nobody/1", "models:/m-abc", "models://h/m/1", "models:"),
            *("models:/", "models:/m/", "models:/m@", "models:/a/b/c", "mlflow-artifacts:/0/abc/artifacts", "dbfs:/x"),
            *("dummy-source", ""),
        )
    ),
    ("POST", f"{VERSIONS}/create", {"name": "m", "source": "runs:/abc/model", "run_id": "abc"}),
    ("POST", f"{VERSIONS}/create", {"name": "m", "source": "models:/m/2", "run_id": "other"}),
    ("POST", f"{VERSIONS}/create", {"name": "m", "source": "models:/m/2", "model_id": "m-abc"}),
    ("POST", f"{VERSIONS}/create", {"name": "m", "source": SOURCE, "model_id": "m-abc"}),
    ("POST", f"{VERSIONS}/create", {"name": "m", "source": "runs:/abc/model", "model_id": "m-abc"}),
    ("POST", f"{VERSIONS}/create", {"name": "nobody", "source": SOURCE}),
    ("POST", f"{VERSIONS}/create", {"name": "m"}),
    *(("GET", f"{VERSIONS}/get", {"name": "m", "version": text}) for text in ("1", "2", " 1 ", "x", "99", "-1", "")),
    ("PATCH", f"{VERSIONS}/update", {"name": "m", "version": "1"}),
    ("PATCH", f"{VERSIONS}/update", {"name": "m", "version": "1", "description": ""}),
    ("PATCH", f"{VERSIONS}/update", {"name": "m", "version": "1", "description": "new"}),
    ("PATCH", f"{VERSIONS}/update", {"name": "m", "version": 1}),
    ("PATCH", f"{MODELS}/update", {"name": "m"}),
    ("PATCH", f"{MODELS}/update", {"name": "m", "description": "dd"}),
    ("POST", f"{VERSIONS}/transition-stage", {"name": "m", "version": "1", "stage": "production"}),
    (
        "POST",
        f"{VERSIONS}/transition-stage",
        {"name": "m", "version": "2", "stage": "Production", "archive_existing_versions": True},
    ),
    ("POST", f"{VERSIONS}/transition-stage", {"name": "m", "version": "2", "stage": "nowhere"}),
    (
        "POST",
        f"{VERSIONS}/transition-stage",
        {"name": "m", "version": "2", "stage": "Staging", "archive_existing_versions": "true"},
    ),
    *(
        ("POST", f"{MODELS}/alias", {"name": "m", "alias": alias, "version": "2"})
        for alias in ("champion", "latest", "Latest", "v1", "V20", "v", "a b", "", "x" * 256)
    ),
    ("POST", f"{MODELS}/alias", {"name": "m", "alias": "x", "version": "99"}),
    ("POST", f"{MODELS}/alias", {"name": "m", "alias": "x", "version": "x"}),
    ("POST", f"{MODELS}/alias", {"name": "nobody", "alias": "x", "version": "1"}),
    *(
        ("GET", f"{MODELS}/alias", {"name": "m", "alias": alias})
        for alias in ("champion", "nobody", "latest", "LATEST")
    ),
    ("GET", f"{MODELS}/alias", {"name": "nobody", "alias": "champion"}),
    ("GET", f"{MODELS}/alias", {"name": "m2", "alias": "latest"}),
    ("DELETE", f"{MODELS}/alias", {"name": "m", "alias": "nobody"}),
    ("DELETE", f"{MODELS}/alias", {"name": "nobody", "alias": "nobody"}),
    ("GET", f"{MODELS}/get-latest-versions", {"name": "m"}),
    ("GET", f"{MODELS}/get-latest-versions", {"name": "m", "stages": ["production", "None"]}),
    ("GET", f"{MODELS}/get-latest-versions", {"name": "m", "stages": "archived"}),
    ("POST", f"{MODELS}/get-latest-versions", {"name": "m", "stages": ["Production"]}),
    ("POST", f"{MODELS}/get-latest-versions", {"name": "m", "stages": ["nowhere"]}),
    ("POST", f"{MODELS}/get-latest-versions", {"name": "nobody"}),
    ("GET", f"{MODELS}/get", {"name": "m"}),
    *(
        ("POST", f"{MODELS}/set-tag", {"name": "m", "key": key, "value": value})
        for key, value in (("t", "v"), ("t", ""), ("", ""), ("k" * 251, ""), ("k", "v" * 100_001), ("../k", ""))
    ),
    ("POST", f"{MODELS}/set-tag", {"name": "nobody", "key": "k", "value": "v"}),
    ("DELETE", f"{MODELS}/delete-tag", {"name": "m", "key": "nobody"}),
    ("DELETE", f"{MODELS}/delete-tag", {"name": "nobody", "key": "k"}),
    ("POST", f"{VERSIONS}/set-tag", {"name": "m", "version": "1", "key": "t", "value": "v"}),
    ("POST", f"{VERSIONS}/set-tag", {"name": "m", "version": "99", "key": "t", "value": "v"}),
    ("DELETE", f"{VERSIONS}/delete-tag", {"name": "m", "version": "1", "key": "nobody"}),
    ("DELETE", f"{VERSIONS}/delete-tag", {"name": "m", "version": "99", "key": "nobody"}),
    ("GET", f"{VERSIONS}/get-download-uri", {"name": "m", "version": "2"}),
    ("GET", f"{VERSIONS}/get-download-uri", {"name": "m"}),
    ("GET", f"{VERSIONS}/get-download-uri", {}),
    ("GET", f"{VERSIONS}/search", {"filter": "name = 'm'", "order_by": ["version_number ASC"]}),
    ("GET", f"{VERSIONS}/search", {"max_results": 0}),
    ("GET", f"{VERSIONS}/search", {"max_results": 200_001}),
    ("GET", f"{MODELS}/search", {"filter": "name = 'm2'"}),
    ("GET", f"{MODELS}/search", {"max_results": 1_001}),
    ("GET", f"{MODELS}/search", {"max_results": "x"}),
    ("DELETE", f"{VERSIONS}/delete", {"name": "m", "version": "2"}),
    ("DELETE", f"{VERSIONS}/delete", {"name": "m", "version": "2"}),
    ("POST", f"{MODELS}/rename", {"name": "m", "new_name": "m9"}),
    ("POST", f"{MODELS}/rename", {"name": "m", "new_name": "m10"}),
    ("POST", f"{MODELS}/rename", {"name": "m9", "new_name": ""}),
    ("POST", f"{MODELS}/rename", {"name": "m9", "new_name": "a:b"}),
    ("DELETE", f"{MODELS}/delete", {"name": "m9"}),
    ("DELETE", f"{MODELS}/delete", {"name": "m9"}),
]


def test_answers_are_those_of_a_stock_server(ours: Rest, theirs: Rest) -> None:
    prefix = uuid.uuid4().hex[:8]
    for number, (method, path, fields) in enumerate(SAME):
        own = _with_own_names(fields, prefix)
        mine, stock = (_shown(call(rest, method, path, own)) for rest in (ours, theirs))
        assert mine == stock, f"call {number}: {method} {path} {fields}"


# Where a stock server answers 500 or stores what nobody can have meant.
BETTER: list[tuple[str, str, dict[str, Any], int, str, str]] = [
    ("POST", f"{MODELS}/create", {"name": "a\0b"}, 400, INVALID, "name"),
    ("POST", f"{MODELS}/create", {"name": "x" * 257}, 400, INVALID, "name"),
    ("POST", f"{MODELS}/create", {"name": "a", "description": "\0"}, 400, INVALID, "description"),
    ("POST", f"{MODELS}/create", {"name": "a", "tags": [{"key": "k", "value": "\0"}]}, 400, INVALID, "value"),
    ("POST", f"{MODELS}/create", {"name": "a", "tags": [{"value": "v"}]}, 400, INVALID, "tags[0].key"),
    ("GET", f"{VERSIONS}/get", {"name": "m", "version": "9" * 30}, 404, MISSING, "9" * 30),
    ("GET", f"{VERSIONS}/get", {"name": "m", "version": "9" * 5_000}, 400, INVALID, "version"),
    ("POST", f"{MODELS}/alias", {"name": "m", "alias": "a", "version": "9" * 30}, 404, MISSING, "9" * 30),
    ("POST", f"{VERSIONS}/create", {"name": "m", "source": "models:/m/Staging"}, 404, MISSING, "Staging"),
    ("POST", f"{VERSIONS}/create", {"name": "m", "source": "models:/m-1", "model_id": "m-1"}, 404, MISSING, "m-1"),
    ("POST", f"{VERSIONS}/create", {"name": "m", "source": "file://host/x"}, 400, INVALID, "file://host/x"),
    ("POST", f"{VERSIONS}/create", {"name": "m", "source": "http://[::1/x"}, 400, INVALID, "source"),
    ("POST", f"{VERSIONS}/create", {"name": "m", "source": "https://example.org/x"}, 400, INVALID, "source"),
    ("POST", f"{VERSIONS}/create", {"name": "m", "source": "mlflow-artifacts://h/x"}, 400, INVALID, "source"),
    ("POST", f"{VERSIONS}/create", {"name": "m", "source": f"s3://b/%{'25' * 20}2e/x"}, 400, INVALID, "source"),
    ("POST", f"{VERSIONS}/create", {"name": "m", "source": "s3://b/" + "x" * 3_000}, 400, INVALID, "source"),
    ("POST", f"{VERSIONS}/create", {"name": "m", "source": SOURCE, "run_id": "r" * 300}, 400, INVALID, "run_id"),
    ("POST", f"{VERSIONS}/create", {"name": "m", "source": SOURCE, "run_link": "\0"}, 400, INVALID, "run_link"),
    (
        "POST",
        f"{VERSIONS}/transition-stage",
        {"name": "m", "version": "1", "stage": "None", "archive_existing_versions": True},
        400,
        INVALID,
        "not an Active stage",
    ),
    ("GET", f"{MODELS}/search", {"max_results": 0}, 400, INVALID, "max_results"),
    ("GET", f"{MODELS}/search", {"max_results": -1}, 400, INVALID, "max_results"),
    ("GET", f"{MODELS}/search", {"order_by": ["name", "name"]}, 400, INVALID, "order_by"),
    ("GET", f"{MODELS}/search", {"page_token": "zz"}, 400, INVALID, "page_token"),
    ("GET", f"{MODELS}/search", {"filter": "name = '\0'"}, 400, INVALID, "filter"),
    ("GET", f"{VERSIONS}/search", {"order_by": ["name", "name"]}, 400, INVALID, "order_by"),
    ("POST", f"{MODELS}/rename", {"name": "m", "new_name": "m"}, 200, "", ""),
]


def test_bad_input_is_refused_and_named(ours: Rest) -> None:
    prefix = uuid.uuid4().hex[:8]
    call(ours, "POST", f"{MODELS}/create", {"name": f"{prefix}-m"})
    new_version(ours, f"{prefix}-m")
    for method, path, fields, status, code, named in BETTER:
        answer = call(ours, method, path, _with_own_names(fields, prefix))
        assert (answer.status, answer.body.get("error_code", "")) == (status, code), (path, fields, answer.content)
        assert named in answer.body.get("message", "")


def _with_own_names(fields: Any, prefix: str) -> Any:
    """Both servers keep what earlier runs of the tests left there."""
    if isinstance(fields, dict):
        return {
            key: f"{prefix}-{value}"
            if key in ("name", "new_name") and value in ("m", "m2", "m3", "m9", "m10")
            else _with_own_names(value, prefix)
            for key, value in fields.items()
        }
    if isinstance(fields, str):
        for known in ("models:/m/", "models:/m@"):
            fields = fields.replace(known, known.replace("/m", f"/{prefix}-m"))
        for known in ("m", "m2"):
            fields = fields.replace(f"name = '{known}'", f"name = '{prefix}-{known}'")
    return fields


def _shown(answer: Answer) -> Any:
    """Status and body without what differs between two servers anyway."""
    return answer.status, _without_times(answer.body)


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        ignored = (*_TIMES, "sqlstate", "error_class")
        return {key: _without_times(item) for key, item in value.items() if key not in ignored}
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    return " ".join(value.split()) if isinstance(value, str) else value
