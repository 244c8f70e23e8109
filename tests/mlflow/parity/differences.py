"""Where we differ from stock MLflow on purpose, and why. docs/mlflow.md has this table; a test proves each row."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tests.mlflow.parity.calls import Call

Outcome = tuple[int, str]

_EXPERIMENT = Call("POST", "experiments/create", {"name": "{salt}"}, learns={"«experiment»": ("experiment_id",)})
_RUN = Call(
    "POST",
    "runs/create",
    {"experiment_id": "«experiment»", "start_time": 1},
    learns={"«run»": ("run", "info", "run_id")},
)


def _created_with(tag: dict[str, str]) -> Call:
    body = {"experiment_id": "«experiment»", "start_time": 2, "tags": [tag]}
    return Call("POST", "runs/create", body, learns={"«run»": ("run", "info", "run_id")})


def _logged_with(fields: dict[str, Any]) -> Call:
    body = {"run_id": "«run»", "key": "a", "value": 1.0, "timestamp": 1, **fields}
    return Call("POST", "runs/log-metric", body)


_MODEL = Call(
    "POST", "logged-models", {"experiment_id": "«experiment»"}, learns={"«model»": ("model", "info", "model_id")}
)
_OUTPUT = Call("POST", "runs/outputs", {"run_id": "«run»", "models": [{"model_id": "«model»", "step": 0}]})


@dataclass(frozen=True, slots=True)
class Difference:
    """One row. `call` shows it on a fresh experiment and run, after the calls of `before`."""

    what: str
    why: str
    call: Call
    stock: Outcome
    ours: Outcome
    before: tuple[Call, ...] = ()
    # Where both outcomes are the same: what shows the difference afterwards.
    then: Call | None = None
    # What else a walk may meet of the same kind: the route, and stock's message.
    path: str = ""
    message: str = ".*"

    @property
    def setting(self) -> tuple[Call, ...]:
        """All calls before the one that shows the difference."""
        return (_EXPERIMENT, _RUN, *self.before)

    def covers(self, call: Call, stock: tuple[int, Any], ours: tuple[int, Any]) -> bool:
        """Whether two answers to a call of a walk are this difference."""
        return (
            self.stock != self.ours
            and re.fullmatch(self.path or re.escape(self.call.path), call.path) is not None
            and (outcome(stock), outcome(ours)) == (self.stock, self.ours)
            and re.fullmatch(self.message, _message(stock), re.DOTALL) is not None
        )


def outcome(answer: tuple[int, Any]) -> Outcome:
    """Status and error code; no code is success."""
    status, body = answer
    return status, body.get("error_code", "") if isinstance(body, dict) else ""


def is_meant(call: Call, stock: tuple[int, Any], ours: tuple[int, Any]) -> bool:
    """Whether a row covers two different answers, or both refuse, each in its form or its words."""
    if call.path.endswith("/search") and outcome(stock) == outcome(ours) == _BAD:
        return True
    if stock[0] == ours[0] and isinstance(stock[1], dict) and stock[1] == {"detail": _message(ours)}:
        return True
    return any(row.covers(call, stock, ours) for row in DIFFERENCES)


def _message(answer: tuple[int, Any]) -> str:
    body = answer[1]
    return str(body.get("message", "")) if isinstance(body, dict) else ""


_BAD = (400, "INVALID_PARAMETER_VALUE")
_OK = (200, "")

DIFFERENCES = (
    Difference(
        "an experiment is renamed to a name that is taken",
        "the code that create gives for it; stock passes on the error of its database",
        Call("POST", "experiments/update", {"experiment_id": "«experiment»", "new_name": "Default"}),
        stock=(400, "BAD_REQUEST"),
        ours=(400, "RESOURCE_ALREADY_EXISTS"),
    ),
    Difference(
        "a deleted experiment is renamed",
        "a client repeats a 500 for minutes",
        Call("POST", "experiments/update", {"experiment_id": "«experiment»", "new_name": "{salt} new"}),
        stock=(500, "INVALID_STATE"),
        ours=_BAD,
        before=(Call("POST", "experiments/delete", {"experiment_id": "«experiment»"}),),
    ),
    Difference(
        "an experiment keeps its files where a host is named: abfss, hdfs, viewfs, ftp, sftp, http, https, r2 or b2",
        "clients go there themselves and this service never does; stock takes them after "
        "MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES is set",
        Call("POST", "experiments/create", {"name": "{salt} b", "artifact_location": "abfss://a@b.example.com/c"}),
        stock=_BAD,
        ours=_OK,
    ),
    Difference(
        "an experiment is created with two tags of one key",
        "the last counts, as with set-experiment-tag; stock says that the experiment exists",
        Call("POST", "experiments/create", {"name": "{salt} b", "tags": [{"key": "a", "value": v} for v in "12"]}),
        stock=(400, "RESOURCE_ALREADY_EXISTS"),
        ours=_OK,
        path="(no walk sends it)",
    ),
    Difference(
        "a run is created without an experiment",
        "it goes to Default, where MLflow's client sends it unasked; stock passes on the error of its database",
        Call("POST", "runs/create", {}),
        stock=(400, "BAD_REQUEST"),
        ours=_OK,
    ),
    Difference(
        "a search asks for a view of runs or experiments that there is none of",
        "stock takes ACTIVE_ONLY for it",
        Call("POST", "runs/search", {"experiment_ids": ["«experiment»"], "run_view_type": "deleted"}),
        stock=_OK,
        ours=_BAD,
    ),
    Difference(
        "a run is created with a tag whose key is empty or has more than 250 characters",
        "no other route takes such a key",
        _created_with({"key": "", "value": "x"}),
        stock=_OK,
        ours=_BAD,
    ),
    Difference(
        "a run is created with a tag of more than 8,000 characters",
        "it is cut, as set-tag does; stock keeps it on SQLite and answers 500 on PostgreSQL",
        _created_with({"key": "a", "value": "y" * 8_001}),
        stock=_OK,
        ours=_OK,
        then=Call("GET", "runs/get", {"run_id": "«run»"}),
    ),
    Difference(
        "the tag mlflow.runName is deleted",
        "it is the name of the run, which stays; stock takes the tag away and keeps the name",
        Call("POST", "runs/delete-tag", {"run_id": "«run»", "key": "mlflow.runName"}),
        stock=_OK,
        ours=_OK,
        then=Call("GET", "runs/get", {"run_id": "«run»"}),
    ),
    Difference(
        "a time is in microseconds or nanoseconds",
        "it is kept as the time it is; stock takes it for milliseconds, and MLflow's client cannot read such a run",
        _logged_with({"timestamp": 1_795_838_192_309_976_050}),
        stock=_OK,
        ours=_OK,
        then=Call("GET", "metrics/get-history", {"run_id": "«run»", "metric_key": "a"}),
    ),
    Difference(
        "an experiment's or a registered model's name has a control character, such as the end of a line in a file",
        "names are shown in lines of text; the message says which character it is",
        Call("POST", "experiments/create", {"name": "{salt} b\n"}),
        stock=_OK,
        ours=_BAD,
    ),
    Difference(
        "a value is not a number, but true",
        "stock answers 200 and stores zeros",
        _logged_with({"value": True}),
        stock=_OK,
        ours=_BAD,
    ),
    Difference(
        "a time has a fraction",
        "stock answers 200 and stores zeros",
        _logged_with({"timestamp": 1.5}),
        stock=_OK,
        ours=_BAD,
    ),
    Difference(
        "a step has more than 64 bits",
        "stock answers 200 and stores zeros",
        _logged_with({"step": 2**63}),
        stock=_OK,
        ours=_BAD,
    ),
    Difference(
        "a body has the literal NaN, which is no JSON",
        'stock answers 200 and stores zeros; clients send the text "NaN"',
        Call("POST", "runs/log-metric", content='{"run_id": "«run»", "key": "a", "value": NaN, "timestamp": 1}'),
        stock=_OK,
        ours=(400, "BAD_REQUEST"),
    ),
    Difference(
        "a body has more than 50,000 values, or 10,000 objects and lists",
        "no request may hold up others; more in [operations.md](operations.md#limits-of-requests-over-http)",
        Call("POST", "runs/log-batch", {"run_id": "«run»", "unknown": [0] * 50_001}),
        stock=_OK,
        ours=_BAD,
    ),
    Difference(
        "a filter has more than 100 comparisons, or 64 KiB besides lists of ids",
        "the same",
        Call(
            "POST",
            "runs/search",
            {"experiment_ids": ["0"], "filter": " AND ".join(["attributes.status != 'FAILED'"] * 101)},
        ),
        stock=_OK,
        ours=_BAD,
    ),
    Difference(
        "a text has a NUL character",
        "PostgreSQL cannot store one: stock answers 500 there, and stores it on SQLite",
        Call("POST", "runs/set-tag", {"run_id": "«run»", "key": "a", "value": "x\0y"}),
        stock=_OK,
        ours=_BAD,
    ),
    Difference(
        "a model version goes to a stage that is not active, and others are to be archived for it",
        "a client repeats a 500 for minutes",
        Call(
            "POST",
            "model-versions/transition-stage",
            {"name": "{salt}", "version": "1", "stage": "Archived", "archive_existing_versions": True},
        ),
        stock=(500, "INTERNAL_ERROR"),
        ours=_BAD,
        before=(
            Call("POST", "registered-models/create", {"name": "{salt}"}),
            Call("POST", "model-versions/create", {"name": "{salt}", "source": "s3://bucket/a"}),
        ),
    ),
    Difference(
        "runs are ordered by one column twice",
        "a client repeats a 500 for minutes",
        Call("POST", "runs/search", {"experiment_ids": ["«experiment»"], "order_by": ["metrics.a", "metrics.a DESC"]}),
        stock=(500, "INTERNAL_ERROR"),
        ours=_BAD,
    ),
    Difference(
        "a dataset has an empty name",
        "nothing could find it; stock stores it",
        Call("POST", "runs/log-inputs", {"run_id": "«run»", "datasets": [{"dataset": {"name": "", "digest": "1"}}]}),
        stock=_OK,
        ours=_BAD,
        path="(no walk sends it)",
    ),
    Difference(
        "a model is logged again as an output of its run",
        "every write is safe to repeat; stock passes on the error of its database",
        _OUTPUT,
        stock=(400, "BAD_REQUEST"),
        ours=_OK,
        before=(_MODEL, _OUTPUT),
    ),
)
