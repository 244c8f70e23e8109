"""Runs with their params and tags, through MLflow's client and REST."""

from __future__ import annotations

import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from runstream_bench.http_client import Answer
from tests.support.rest import Rest

UNKNOWN = uuid.uuid4().hex
INVALID, MISSING = "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"


def new_run(rest: Rest, **fields: Any) -> str:
    return str(rest.post("runs/create", fields).body["run"]["info"]["run_id"])


def tags_of(rest: Rest, run_id: str) -> dict[str, str]:
    return _entries(rest, run_id, "tags")


def params_of(rest: Rest, run_id: str) -> dict[str, str]:
    return _entries(rest, run_id, "params")


def _entries(rest: Rest, run_id: str, kind: str) -> dict[str, str]:
    data = rest.get("runs/get", {"run_id": run_id}).body["run"]["data"]
    return {entry["key"]: entry["value"] for entry in data.get(kind, [])}


# -- life of a run ---------------------------------------------------------------------------------------------------


def test_run_that_says_nothing_has_the_defaults(ours: Rest) -> None:
    run = ours.post("runs/create").body["run"]
    info = run["info"]
    run_id, name = info["run_id"], info["run_name"]
    assert re.fullmatch("[0-9a-f]{32}", run_id)
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d+", name)
    assert info == {
        "run_id": run_id,
        "run_uuid": run_id,
        "run_name": name,
        "experiment_id": "0",
        "user_id": "",
        "status": "RUNNING",
        "start_time": 0,
        "artifact_uri": f"mlflow-artifacts:/0/{run_id}/artifacts",
        "lifecycle_stage": "active",
    }
    assert run["data"] == {"tags": [{"key": "mlflow.runName", "value": name}]}
    # A new run has made nothing yet: as in MLflow, only `get` says so.
    assert ours.get("runs/get", {"run_id": run_id}).body == {"run": {**run, "outputs": {}}}


def test_artifacts_of_a_run_lie_below_those_of_its_experiment(ours: Rest) -> None:
    for location, before, after in (
        ("s3://bucket/a/", "s3://bucket/a/", ""),
        ("s3://bucket/a?region=b/", "s3://bucket/a/", "?region=b/"),
        ("s3://bucket/a/?region=b", "s3://bucket/a/", "?region=b"),
        ("s3://bucket?region=b", "s3://bucket/", "?region=b"),
        ("s3://bucket/a//", "s3://bucket/a//", ""),
    ):
        body = {"name": f"located {uuid.uuid4().hex}", "artifact_location": location}
        experiment_id = ours.post("experiments/create", body).body["experiment_id"]
        info = ours.post("runs/create", {"experiment_id": experiment_id}).body["run"]["info"]
        assert info["artifact_uri"] == f"{before}{info['run_id']}/artifacts{after}"
        found = {"experiment_ids": [experiment_id], "filter": f"artifact_uri = '{info['artifact_uri']}'"}
        assert [run["info"] for run in ours.post("runs/search", found).body["runs"]] == [info]
        model = ours.post("logged-models", {"experiment_id": experiment_id, "name": "a"}).body["model"]["info"]
        assert model["artifact_uri"] == f"{before}models/{model['model_id']}/artifacts{after}"


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("s3://bucket/a?x=%25252e%25252e", "Invalid query string"),
        ("runs:/a/b", "Artifact location cannot be a runs:/ URI. Given: 'runs:/a/b'"),
        ("s3://[::1/x", "'artifact_location' is not a URI: Invalid IPv6 URL."),
    ],
)
def test_a_location_that_leads_nowhere_is_refused(ours: Rest, location: str, message: str) -> None:
    answer = ours.post("experiments/create", {"name": uuid.uuid4().hex, "artifact_location": location})
    assert answer.error == (400, INVALID, message)


def test_classic_script_leaves_what_it_logged(tracking: str, experiment_id: str) -> None:
    mlflow.set_experiment(experiment_id=experiment_id)
    with mlflow.start_run(run_name="parent", tags={"team": "vision"}, description="first try") as parent:
        mlflow.log_param("depth", 3)
        mlflow.set_tag("phase", "warm-up")
        with mlflow.start_run(run_name="child", nested=True) as child:
            pass
    run = mlflow.get_run(parent.info.run_id)
    assert (run.info.run_name, run.info.status, run.data.params) == ("parent", "FINISHED", {"depth": "3"})
    assert run.info.end_time >= run.info.start_time
    expected = {"team": "vision", "phase": "warm-up", "mlflow.note.content": "first try", "mlflow.runName": "parent"}
    assert expected.items() <= run.data.tags.items()
    assert mlflow.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_run_that_raised_has_failed_and_may_be_resumed(tracking: str, experiment_id: str) -> None:
    mlflow.set_experiment(experiment_id=experiment_id)
    with pytest.raises(RuntimeError), mlflow.start_run() as run:
        raise RuntimeError
    assert mlflow.get_run(run.info.run_id).info.status == "FAILED"
    with mlflow.start_run(run_id=run.info.run_id):
        assert mlflow.get_run(run.info.run_id).info.status == "RUNNING"
        mlflow.log_param("resumed", "yes")
    resumed = mlflow.get_run(run.info.run_id)
    assert (resumed.info.status, resumed.data.params) == ("FINISHED", {"resumed": "yes"})


def test_environment_names_the_experiment_and_then_the_run(tracking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", f"remote jobs {uuid.uuid4().hex}")
    with mlflow.start_run() as run:
        pass
    assert mlflow.get_experiment(run.info.experiment_id).name.startswith("remote jobs")
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    with mlflow.start_run() as same:
        mlflow.log_param("rank", 0)
    assert same.info.run_id == run.info.run_id
    assert mlflow.get_run(run.info.run_id).data.params == {"rank": "0"}


def test_client_ends_and_renames_a_run(client: mlflow.MlflowClient, experiment_id: str) -> None:
    run_id = client.create_run(experiment_id, start_time=1_000, run_name="before").info.run_id
    client.set_terminated(run_id, "KILLED", end_time=2_000)
    client.update_run(run_id, name="after")
    run = client.get_run(run_id)
    assert (run.info.status, run.info.start_time, run.info.end_time) == ("KILLED", 1_000, 2_000)
    assert (run.info.run_name, run.data.tags["mlflow.runName"]) == ("after", "after")
    client.update_run(run_id, status="RUNNING")
    run = client.get_run(run_id)
    assert (run.info.status, run.info.end_time, run.info.run_name) == ("RUNNING", 2_000, "after")


def test_update_answers_what_the_run_is_then(ours: Rest) -> None:
    run_id = new_run(ours, run_name="a")
    body = {"run_uuid": run_id, "status": "FINISHED", "end_time": 5}
    info = ours.post("runs/update", body).body["run_info"]
    assert (info["run_id"], info["status"], info["end_time"], info["run_name"]) == (run_id, "FINISHED", 5, "a")
    assert "end_time" not in ours.post("runs/update", {"run_id": run_id, "end_time": 0}).body["run_info"]


@pytest.mark.parametrize(
    ("given", "then"), [("NO SUCH", "RUNNING"), ("failed", "RUNNING"), (4, "FAILED"), ("5", "KILLED")]
)
def test_status_that_mlflow_does_not_know_is_passed_over(ours: Rest, given: object, then: str) -> None:
    answer = ours.post("runs/update", {"run_id": new_run(ours), "status": given})
    assert (answer.status, answer.body["run_info"]["status"]) == (200, then)


def test_deleted_run_is_seen_and_takes_no_more_until_it_is_restored(ours: Rest) -> None:
    run_id = new_run(ours)
    for _ in range(2):
        assert ours.post("runs/delete", {"run_id": run_id}).body == {}
    assert ours.get("runs/get", {"run_id": run_id}).body["run"]["info"]["lifecycle_stage"] == "deleted"
    refusal = (400, INVALID, f"The run {run_id} must be in the 'active' state. Current state is deleted.")
    for path, body in WRITES.items():
        assert ours.post(path, {"run_id": run_id, **body}).error == refusal, path
    for _ in range(2):
        assert ours.post("runs/restore", {"run_id": run_id}).body == {}
    assert ours.post("runs/set-tag", {"run_id": run_id, "key": "k", "value": "v"}).status == 200


WRITES: dict[str, dict[str, Any]] = {
    "runs/update": {"run_name": "x"},
    "runs/set-tag": {"key": "k", "value": "v"},
    "runs/delete-tag": {"key": "k"},
    "runs/log-parameter": {"key": "k", "value": "v"},
}


def test_run_is_not_created_in_a_deleted_experiment(ours: Rest, experiment_id: str) -> None:
    ours.post("experiments/delete", {"experiment_id": experiment_id})
    message = f"The experiment {experiment_id} must be in the 'active' state. Current state is deleted."
    assert ours.post("runs/create", {"experiment_id": experiment_id}).error == (400, INVALID, message)


# -- names -----------------------------------------------------------------------------------------------------------


def test_name_and_its_tag_are_one(ours: Rest) -> None:
    run_id = new_run(ours, tags=[{"key": "mlflow.runName", "value": "by tag"}])
    assert _name(ours, run_id) == ("by tag", "by tag")
    ours.post("runs/set-tag", {"run_id": run_id, "key": "mlflow.runName", "value": "renamed"})
    assert _name(ours, run_id) == ("renamed", "renamed")
    ours.post("runs/update", {"run_id": run_id, "run_name": "again"})
    assert _name(ours, run_id) == ("again", "again")
    # As MLflow: an empty name is none, and a run has one.
    assert ours.post("runs/set-tag", {"run_id": run_id, "key": "mlflow.runName", "value": ""}).status == 200
    assert ours.post("runs/delete-tag", {"run_id": run_id, "key": "mlflow.runName"}).status == 200
    assert _name(ours, run_id) == ("again", "again")


def _name(rest: Rest, run_id: str) -> tuple[str, str]:
    run = rest.get("runs/get", {"run_id": run_id}).body["run"]
    return run["info"]["run_name"], tags_of(rest, run_id)["mlflow.runName"]


def test_name_that_differs_from_its_tag_is_refused(ours: Rest) -> None:
    body = {"run_name": "a", "tags": [{"key": "mlflow.runName", "value": "b"}]}
    message = (
        "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values "
        "(run_name='a', mlflow.runName='b')."
    )
    assert ours.post("runs/create", body).error == (400, INVALID, message)
    body["run_name"] = "b"
    assert ours.post("runs/create", body).status == 200


# -- params and tags -------------------------------------------------------------------------------------------------


def test_param_is_written_once(ours: Rest, client: mlflow.MlflowClient) -> None:
    run_id = new_run(ours)
    for _ in range(2):
        client.log_param(run_id, "p", 1)
    message = (
        "Changing param values is not allowed. Param with key='p' was already logged with value='1' for run "
        f"ID='{run_id}'. Attempted logging new value '2'."
    )
    assert ours.post("runs/log-parameter", {"run_id": run_id, "key": "p", "value": "2"}).error == (
        400,
        INVALID,
        message,
    )
    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        client.log_param(run_id, "p", 2)
    assert params_of(ours, run_id) == {"p": "1"}


def test_long_values_of_params_and_tags_are_cut_off(ours: Rest) -> None:
    run_id = new_run(ours, tags=[{"key": "c", "value": "x" * 8_001}])
    for path in ("runs/log-parameter", "runs/set-tag"):
        # Twice: a repeat of a cut value is a repeat.
        for _ in range(2):
            assert ours.post(path, {"run_id": run_id, "key": "k", "value": "ä" * 9_000}).body == {}
    assert params_of(ours, run_id)["k"] == "ä" * 6_000
    assert tags_of(ours, run_id)["k"] == "ä" * 8_000
    assert tags_of(ours, run_id)["c"] == "x" * 8_000


def test_tag_is_overwritten_and_deleted(ours: Rest, client: mlflow.MlflowClient) -> None:
    run_id = new_run(ours)
    for value in ("1", "2", ""):
        client.set_tag(run_id, "k", value)
        assert tags_of(ours, run_id)["k"] == value
    client.delete_tag(run_id, "k")
    assert "k" not in tags_of(ours, run_id)
    answer = ours.post("runs/delete-tag", {"run_id": run_id, "key": "k"})
    assert answer.error == (404, MISSING, f"No tag with name: k in run with id {run_id}")


def test_keys_of_tags_at_creation_are_free_as_in_mlflow(ours: Rest) -> None:
    run_id = new_run(
        ours, tags=[{"key": "a=b, {c}", "value": "v"}, {"key": "d", "value": "1"}, {"key": "d", "value": "2"}]
    )
    assert {"a=b, {c}": "v", "d": "2"}.items() <= tags_of(ours, run_id).items()


@pytest.mark.parametrize("key", ["mlflow.runName", "k"])
def test_twenty_callers_write_the_same_tag_at_once(server: str, key: str) -> None:
    answers, run_id = _at_once(server, "runs/set-tag", key)
    assert [answer.status for answer in answers] == [200] * 20
    rest = Rest(server)
    assert tags_of(rest, run_id)[key] in {str(number) for number in range(20)}
    rest.close()


def test_twenty_callers_log_the_same_param_at_once_and_one_wins(server: str) -> None:
    answers, run_id = _at_once(server, "runs/log-parameter", "k")
    assert sorted(answer.status for answer in answers) == [200] + [400] * 19
    rest = Rest(server)
    winner = next(number for number, answer in enumerate(answers) if answer.status == 200)
    assert params_of(rest, run_id) == {"k": str(winner)}
    rest.close()


def _at_once(server: str, path: str, key: str) -> tuple[list[Answer], str]:
    callers = [Rest(server) for _ in range(20)]
    run_id = new_run(callers[0])

    def write(number: int) -> Answer:
        return callers[number].post(path, {"run_id": run_id, "key": key, "value": str(number)})

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(write, range(20)))
    for caller in callers:
        caller.close()
    return answers, run_id


# -- bad input -------------------------------------------------------------------------------------------------------

SEE = " See the API docs for more information about request parameters."
CHARACTERS = (
    "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and "
    "slashes (/)."
)
RESOLVES = (
    "Names may be treated as files in certain cases, and must not resolve to other names when treated as such. "
    "This name would resolve to '../p'"
)
TOO_LONG = "exceeds the maximum length of 250 characters"
NOT_A_NUMBER = "Invalid experiment ID 'x'. Experiment ID must be a valid integer."


def required(name: str) -> str:
    return f"Missing value for required parameter '{name}'.{SEE}"


def of_type(name: str, shown: str, kind: str) -> str:
    return f"Invalid value {shown} for parameter '{name}' supplied:  Hint: Value was of type '{kind}'.{SEE}"


BAD: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("create", {"experiment_id": 1}, 400, INVALID, of_type("experiment_id", "1", "int")),
    ("create", {"experiment_id": "x"}, 400, INVALID, NOT_A_NUMBER),
    ("create", {"experiment_id": "99999999"}, 404, MISSING, "No Experiment with id=99999999 exists"),
    ("create", {"start_time": "soon"}, 400, INVALID, of_type("start_time", '"soon"', "str")),
    ("create", {"start_time": 1.5}, 400, INVALID, of_type("start_time", "1.5", "float")),
    ("create", {"run_name": 7}, 400, INVALID, of_type("run_name", "7", "int")),
    ("create", {"run_name": "n" * 501}, 400, INVALID, "name: has 501 characters; at most 500 are allowed"),
    ("create", {"run_name": "a\0b"}, 400, INVALID, "name: has a NUL character or a lone surrogate"),
    ("create", {"user_id": "a\0b"}, 400, INVALID, "user: has a NUL character or a lone surrogate"),
    ("create", {"tags": {"a": "b"}}, 400, INVALID, of_type("tags", '{"a":"b"}', "dict")),
    ("create", {"tags": [{"value": "v"}]}, 400, INVALID, required("tags[0].key")),
    ("create", {"tags": [{"key": ""}]}, 400, INVALID, required("tags[0].key")),
    (
        "create",
        {"tags": [{"key": "k", "value": "\0"}]},
        400,
        INVALID,
        "'tags[0].value' has a NUL character or a lone surrogate, which cannot be stored.",
    ),
    ("update", {}, 400, INVALID, required("run_id")),
    ("update", {"run_id": ""}, 400, INVALID, required("run_id")),
    ("update", {"run_id": UNKNOWN}, 404, MISSING, f"Run with id={UNKNOWN} not found"),
    ("update", {"run_id": "no uuid"}, 404, MISSING, "Run with id=no uuid not found"),
    ("update", {"run_id": UNKNOWN, "status": 9}, 400, INVALID, of_type("status", "9", "int")),
    ("update", {"run_id": UNKNOWN, "status": []}, 400, INVALID, of_type("status", "[]", "list")),
    ("update", {"run_id": UNKNOWN, "end_time": "x"}, 400, INVALID, of_type("end_time", '"x"', "str")),
    ("delete", {}, 400, INVALID, required("run_id")),
    ("delete", {"run_id": UNKNOWN}, 404, MISSING, f"Run with id={UNKNOWN} not found"),
    ("restore", {"run_id": UNKNOWN.upper()}, 404, MISSING, f"Run with id={UNKNOWN.upper()} not found"),
    ("restore", {"run_id": 31}, 400, INVALID, of_type("run_id", "31", "int")),
    ("set-tag", {"key": "k"}, 400, INVALID, required("run_id")),
    ("set-tag", {"run_id": UNKNOWN}, 400, INVALID, required("key")),
    ("set-tag", {"run_id": UNKNOWN, "key": ""}, 400, INVALID, required("key")),
    ("set-tag", {"run_id": UNKNOWN, "key": "k", "value": "v"}, 404, MISSING, f"Run with id={UNKNOWN} not found"),
    ("set-tag", {"run_id": UNKNOWN, "key": "k", "value": 1}, 400, INVALID, of_type("value", "1", "int")),
    ("set-tag", {"run_id": UNKNOWN, "key": "k" * 251}, 400, INVALID, f"'key' {TOO_LONG}"),
    (
        "set-tag",
        {"run_id": UNKNOWN, "key": "a,b"},
        400,
        INVALID,
        f"Invalid value \"a,b\" for parameter 'key' supplied: {CHARACTERS}",
    ),
    (
        "set-tag",
        {"run_id": UNKNOWN, "key": "k", "value": "a\0"},
        400,
        INVALID,
        "'value' has a NUL character or a lone surrogate, which cannot be stored.",
    ),
    ("delete-tag", {"run_id": UNKNOWN, "key": "k"}, 404, MISSING, f"Run with id={UNKNOWN} not found"),
    ("delete-tag", {"run_id": UNKNOWN}, 400, INVALID, required("key")),
    ("delete-tag", {"run_id": UNKNOWN, "key": "\0"}, 400, INVALID, "key: has a NUL character or a lone surrogate"),
    ("log-parameter", {"run_id": UNKNOWN, "key": "p"}, 404, MISSING, f"Run with id={UNKNOWN} not found"),
    ("log-parameter", {"run_id": UNKNOWN, "value": "v"}, 400, INVALID, required("key")),
    (
        "log-parameter",
        {"run_id": UNKNOWN, "key": "../p"},
        400,
        INVALID,
        f"Invalid value \"../p\" for parameter 'key' supplied: {RESOLVES}",
    ),
    (
        "log-parameter",
        {"run_id": UNKNOWN, "key": "k" * 251},
        400,
        INVALID,
        f"'Param key' {TOO_LONG}",
    ),
    (
        "log-parameter",
        {"run_id": UNKNOWN, "key": "p", "value": "\0"},
        400,
        INVALID,
        "'Param value' has a NUL character or a lone surrogate, which cannot be stored.",
    ),
]  # fmt: skip


def test_bad_input_is_refused_with_the_name_of_what_is_wrong(ours: Rest) -> None:
    for route, body, *expected in BAD:
        assert list(ours.post(f"runs/{route}", body).error) == expected, (route, body)


def test_get_without_an_id_or_of_nothing_is_refused(ours: Rest) -> None:
    assert ours.get("runs/get").error == (400, INVALID, required("run_id"))
    assert ours.get("runs/get", {"run_id": ""}).error == (400, INVALID, required("run_id"))
    for run_id in (UNKNOWN, "x", "é" * 1_000):
        status, code, _ = ours.get("runs/get", {"run_uuid": run_id}).error
        assert (status, code) == (404, MISSING)
