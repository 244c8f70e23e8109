"""Inputs and outputs of runs, datasets and models, through MLflow's client and REST."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.entities import LoggedModelInput, LoggedModelOutput

from tests.mlflow.test_runs import INVALID, MISSING, UNKNOWN, new_run, of_type, required, tags_of
from tests.support.rest import Rest

DIGITS = {"name": "digits", "digest": "d1", "source_type": "local", "source": "{}"}


def test_script_logs_a_dataset_with_its_context(tracking: str, experiment_id: str, ours: Rest) -> None:
    mlflow.set_experiment(experiment_id=experiment_id)
    dataset = mlflow.data.from_numpy(np.arange(4.0), targets=np.arange(4), name="digits")
    with mlflow.start_run() as run:
        mlflow.log_input(dataset, context="training", tags={"split": "a"})
        mlflow.log_input(dataset, context="training")
    (found,) = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("digits", dataset.digest)
    assert json.loads(found.dataset.profile)["features_shape"] == [4]
    assert found.dataset.schema == json.dumps(dataset.schema.to_dict())
    assert {tag.key: tag.value for tag in found.tags} == {"mlflow.data.context": "training", "split": "a"}
    summary = {"experiment_id": experiment_id, "name": "digits", "digest": dataset.digest, "context": "training"}
    answer = ours.post("/ajax-api/2.0/mlflow/experiments/search-datasets", {"experiment_ids": [experiment_id]})
    assert answer.body == {"dataset_summaries": [summary]}


def test_client_logs_models_that_a_run_read_and_made(client: mlflow.MlflowClient, experiment_id: str) -> None:
    run_id = client.create_run(experiment_id).info.run_id
    for _ in range(2):
        client.log_inputs(run_id, models=[LoggedModelInput("m-in")])
        client.log_outputs(run_id, models=[LoggedModelOutput("m-b", 7), LoggedModelOutput("m-a", 8)])
    run = client.get_run(run_id)
    assert [model.model_id for model in run.inputs.model_inputs] == ["m-in"]
    assert [(model.model_id, model.step) for model in run.outputs.model_outputs] == [("m-b", 7), ("m-a", 8)]


def test_dataset_is_one_for_all_runs_of_an_experiment(ours: Rest, experiment_id: str) -> None:
    first, second = (new_run(ours, experiment_id=experiment_id) for _ in range(2))
    log(ours, first, {"dataset": {**DIGITS, "schema": "first"}})
    # Another run's description of the same name and digest changes nothing, as in MLflow.
    log(
        ours,
        second,
        {"dataset": {**DIGITS, "schema": "second"}, "tags": [{"key": "mlflow.data.context", "value": "eval"}]},
    )
    assert inputs_of(ours, second)[0]["dataset"]["schema"] == "first"
    answer = ours.post("experiments/search-datasets", {"experiment_ids": [experiment_id, experiment_id]})
    summary = {"experiment_id": experiment_id, "name": "digits", "digest": "d1"}
    assert answer.body == {"dataset_summaries": [{**summary, "context": "eval"}, summary]}


def test_first_of_two_inputs_with_one_name_and_digest_counts_and_a_repeat_changes_nothing(ours: Rest) -> None:
    run_id = new_run(ours)
    tags = [{"key": "t", "value": "1"}, {"key": "t", "value": "2"}]
    for _ in range(2):
        log(ours, run_id, {"dataset": DIGITS, "tags": tags}, {"dataset": {**DIGITS, "source": "other"}})
    log(ours, run_id, {"dataset": DIGITS, "tags": [{"key": "t", "value": "3"}]})
    assert inputs_of(ours, run_id) == [{"tags": [{"key": "t", "value": "2"}], "dataset": DIGITS}]


def test_callers_that_log_the_same_datasets_at_once_do_not_disturb_each_other(server: str, experiment_id: str) -> None:
    callers = [Rest(server) for _ in range(12)]
    runs = [new_run(caller, experiment_id=experiment_id) for caller in callers]
    datasets = [{"dataset": {**DIGITS, "digest": f"d{number}"}} for number in range(20)]

    def write(number: int) -> int:
        body = {"run_id": runs[number // 2], "datasets": datasets if number % 2 else datasets[::-1]}
        return callers[number].post("runs/log-inputs", body).status

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(write, range(12))) == [200] * 12
    assert [len(inputs_of(callers[0], run_id)) for run_id in runs] == [20] * 6 + [0] * 6
    for caller in callers:
        caller.close()


def test_search_of_datasets_without_any_answers_nothing(ours: Rest, experiment_id: str) -> None:
    assert ours.post("experiments/search-datasets", {"experiment_ids": [experiment_id, "99999999"]}).body == {}


def test_model_of_a_2x_client_is_added_to_the_history_of_its_run_once(ours: Rest) -> None:
    run_id = new_run(ours)
    for path in ("one", "two", "two"):
        assert ours.post("runs/log-model", {"run_id": run_id, "model_json": json.dumps(model(run_id, path))}).body == {}
    one, two = json.loads(tags_of(ours, run_id)["mlflow.log-model.history"])
    assert (one["artifact_path"], two["artifact_path"]) == ("one", "two")
    assert one == {
        "run_id": run_id,
        "artifact_path": "one",
        "utc_time_created": "2026-01-01 00:00:00",
        "model_uuid": "u",
        "flavors": {"sklearn": {"code": None}, "python_function": {"env": "x"}},
    }


def model(run_id: str, path: str) -> dict[str, Any]:
    flavors = {"sklearn": {"code": None, "config": {"a": 1}}, "python_function": {"env": "x"}}
    base = {"run_id": run_id, "artifact_path": path, "flavors": flavors, "utc_time_created": "2026-01-01 00:00:00"}
    return {**base, "model_uuid": "u", "mlflow_version": "2.22.0", "signature": {"inputs": "[]"}}


def log(rest: Rest, run_id: str, *datasets: dict[str, Any]) -> None:
    assert rest.post("runs/log-inputs", {"run_id": run_id, "datasets": list(datasets)}).body == {}


def inputs_of(rest: Rest, run_id: str) -> list[dict[str, Any]]:
    inputs: dict[str, Any] = rest.get("runs/get", {"run_id": run_id}).body["run"]["inputs"]
    return list(inputs.get("dataset_inputs", []))


# -- bad input -------------------------------------------------------------------------------------------------------


def reading(**fields: Any) -> dict[str, Any]:
    return {"run_id": UNKNOWN, "datasets": [{"dataset": {**DIGITS, **fields}}]}


def tagged(*tags: dict[str, str]) -> dict[str, Any]:
    return {"run_id": UNKNOWN, "datasets": [{"dataset": DIGITS, "tags": list(tags)}]}


def too_long(what: str, limit: int) -> str:
    return f"'{what}' exceeds the maximum length of {limit} characters"


NOT_FOUND = f"Run with id={UNKNOWN} not found"
UNSTORABLE = "has a NUL character or a lone surrogate, which cannot be stored."
BAD: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("log-inputs", {}, 400, INVALID, required("run_id")),
    ("log-inputs", {"run_id": ""}, 400, INVALID, required("run_id")),
    ("log-inputs", {"run_id": "a b"}, 400, INVALID, "Invalid value \"a b\" for parameter 'run_id' supplied."),
    ("log-inputs", {"run_id": "abc"}, 404, MISSING, "Run with id=abc not found"),
    ("log-inputs", reading(), 404, MISSING, NOT_FOUND),
    ("log-inputs", {"run_id": UNKNOWN, "datasets": {}}, 400, INVALID, of_type("datasets", "{}", "dict")),
    ("log-inputs", {"run_id": UNKNOWN, "datasets": [{}]}, 400, INVALID, required("datasets[0].dataset")),
    ("log-inputs", reading(name=""), 400, INVALID, required("datasets[0].dataset.name")),
    ("log-inputs", reading(digest=None), 400, INVALID, required("datasets[0].dataset.digest")),
    ("log-inputs", reading(digest=5), 400, INVALID, of_type("datasets[0].dataset.digest", "5", "int")),
    ("log-inputs", reading(name="n" * 501), 400, INVALID, too_long("name", 500)),
    ("log-inputs", reading(digest="n" * 37), 400, INVALID, too_long("digest", 36)),
    ("log-inputs", reading(source_type="n" * 37), 400, INVALID, too_long("source_type", 36)),
    ("log-inputs", reading(source="n" * 65_536), 400, INVALID, too_long("source", 65_535)),
    ("log-inputs", reading(schema="n" * 1_048_576), 400, INVALID, too_long("schema", 1_048_575)),
    ("log-inputs", reading(profile="n" * 16_777_216), 400, INVALID, too_long("profile", 16_777_215)),
    ("log-inputs", reading(schema="\0"), 400, INVALID, f"'schema' {UNSTORABLE}"),
    ("log-inputs", tagged({"value": "v"}), 400, INVALID, required("datasets[0].tags[0].key")),
    ("log-inputs", tagged({"key": "k" * 256}), 400, INVALID, too_long("key", 255)),
    ("log-inputs", tagged({"key": "k", "value": "v" * 501}), 400, INVALID, too_long("value", 500)),
    ("log-inputs", tagged({"key": "k", "value": "\0"}), 400, INVALID, f"'value' {UNSTORABLE}"),
    ("log-inputs", {"run_id": UNKNOWN, "models": [{}]}, 400, INVALID, required("models[0].model_id")),
    (
        "log-inputs",
        {"run_id": UNKNOWN, "models": [{"model_id": "m"}] * 1_001},
        400,
        INVALID,
        "models: has 1,001 entries; at most 1,000 are allowed",
    ),
    ("outputs", {"models": []}, 400, INVALID, required("run_id")),
    ("outputs", {"run_id": UNKNOWN}, 400, INVALID, required("models")),
    ("outputs", {"run_id": UNKNOWN, "models": []}, 404, MISSING, NOT_FOUND),
    ("outputs", {"run_id": UNKNOWN, "models": [{"step": 1}]}, 400, INVALID, required("models[0].model_id")),
    (
        "outputs",
        {"run_id": UNKNOWN, "models": [{"model_id": "m", "step": 2**63}]},
        400,
        INVALID,
        of_type("models[0].step", str(2**63), "int"),
    ),
    ("log-model", {"run_id": UNKNOWN}, 400, INVALID, required("model_json")),
    ("log-model", {"model_json": "{}"}, 400, INVALID, required("run_id")),
    (
        "log-model",
        {"run_id": UNKNOWN, "model_json": "{"},
        400,
        INVALID,
        "Malformed model info. \n { \n is not a valid JSON.",
    ),
    (
        "log-model",
        {"run_id": UNKNOWN, "model_json": "[]"},
        400,
        INVALID,
        "Malformed model info: model_json must be an object, and so must its flavors.",
    ),
    (
        "log-model",
        {"run_id": UNKNOWN, "model_json": '{"flavors": {}, "run_id": "x"}'},
        400,
        INVALID,
        "Model json is missing mandatory fields: {'artifact_path', 'utc_time_created'}",
    ),
    ("log-model", {"run_id": UNKNOWN, "model_json": json.dumps(model("", "p"))}, 404, MISSING, NOT_FOUND),
]  # fmt: skip


def test_bad_input_is_refused_with_the_name_of_what_is_wrong(ours: Rest) -> None:
    for route, body, *expected in BAD:
        assert list(ours.post(f"runs/{route}", body).error) == expected, (route, str(body)[:200])


def test_history_that_cannot_be_added_to_is_refused(ours: Rest) -> None:
    run_id = new_run(ours, tags=[{"key": "mlflow.log-model.history", "value": "mine"}])
    body = {"run_id": run_id, "model_json": json.dumps(model(run_id, "p"))}
    message = "The tag 'mlflow.log-model.history' of this run is not a JSON list, so nothing can be added to it."
    assert ours.post("runs/log-model", body).error == (400, INVALID, message)
    deep: Any = None
    for _ in range(300):
        deep = {"a": deep}
    body = {"run_id": new_run(ours), "model_json": json.dumps({**model(run_id, "p"), "flavors": {"f": {"a": deep}}})}
    message = "Malformed model info: its objects are nested too deeply."
    assert ours.post("runs/log-model", body).error == (400, INVALID, message)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "SearchDatasets request must specify at least one experiment_id."),
        (
            ["0"] * 21,
            "SearchDatasets request cannot specify more than 20 experiment_ids. Received 21 experiment_ids.",
        ),
        (["x"], "Invalid experiment ID 'x'. Experiment ID must be a valid integer."),
    ],
)
def test_search_of_datasets_says_what_is_wrong(ours: Rest, ids: list[str], message: str) -> None:
    assert ours.post("experiments/search-datasets", {"experiment_ids": ids}).error == (400, INVALID, message)
