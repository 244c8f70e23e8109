"""An answer without what may differ: ids, times, generated names, the order within dictionaries."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from runstream_bench.http_client import Answer

# The walks send times far below.
_NOW_MS = 1_700_000_000_000
# Stock's messages may go on with its SQL, and ours with what to do about a name that something deleted has.
_SQL = re.compile(r"(?: Error: )?\((?:sqlite3|raised as|psycopg2).*|(?<=already exists\.) It is deleted: .*", re.DOTALL)
_EXPERIMENT = re.compile(
    r"(?P<before>\bid[= ]|\bID=|\bexperiment |mlflow-artifacts:/|experiment_id='|(?:artifact|file): ')(?P<id>-?\d+)\b"
)
_LONG_ID = re.compile(r"\b(?:m-)?[0-9a-f]{32}\b")
_GENERATED = re.compile(r"[a-z]+-[a-z]+-\d{1,4}")
# Dictionaries on the client's side: their order says nothing.
_UNORDERED = ("params", "tags", "aliases", "dataset_inputs", "model_outputs", "latest_versions")
# For people, and not in every release.
_DROPPED = ("sqlstate", "error_class")


def comparable(answer: Answer, names: Mapping[str, str], *, unordered: bool = False) -> Any:
    """Status and content; `names` are those of the ids on that server; `unordered` lists of the answer are sorted."""
    try:
        body = json.loads(answer.content) if answer.content else ""
    except ValueError:
        kind = answer.headers.get("content-type", answer.headers.get("Content-Type", ""))
        return answer.status, "a page" if "html" in kind else answer.content.decode(errors="replace")
    compared = _comparable(body, names, "")
    if unordered and isinstance(compared, dict):
        compared = {k: sorted(v, key=json.dumps) if isinstance(v, list) else v for k, v in compared.items()}
    return answer.status, compared


def _comparable(value: Any, names: Mapping[str, str], field: str) -> Any:
    if isinstance(value, dict):
        return {
            key: _comparable(item, names, key) for key, item in sorted(value.items()) if key not in _DROPPED
        } | _run_data(value, names)
    if isinstance(value, list):
        items = [_comparable(item, names, field) for item in value]
        return sorted(items, key=json.dumps) if field in _UNORDERED else items
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int) and value >= _NOW_MS and value < 10 * _NOW_MS:
        return "«now»"
    if isinstance(value, str):
        return _text(value, names, field)
    return value


def _run_data(value: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The data of a run. The order of its latest metrics has no meaning; that of a history has."""
    if "metrics" not in value or not {"params", "tags"} & value.keys():
        return {}
    return {"metrics": sorted((_comparable(metric, names, "metric") for metric in value["metrics"]), key=json.dumps)}


def _text(value: str, names: Mapping[str, str], field: str) -> str:
    if field == "next_page_token":
        return "«token»"
    if field in ("experiment_id", "source_experiment_id"):
        return names.get(value, value)
    if field == "message":
        value = _SQL.sub("", value)
    value = _LONG_ID.sub(lambda found: names.get(found[0], found[0]), value)
    value = _EXPERIMENT.sub(lambda found: found["before"] + names.get(found["id"], found["id"]), value)
    if field in ("run_name", "value", "name") and _GENERATED.fullmatch(value):
        return "«generated»"
    return value
