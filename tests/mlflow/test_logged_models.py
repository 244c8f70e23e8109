"""MLflow 3's logged models, through MLflow's own client and REST."""

from __future__ import annotations

import uuid
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mlflow
import pytest
from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException

from tests.support.rest import Rest


@pytest.fixture
def model_id(client: mlflow.MlflowClient, experiment_id: str) -> str:
    """A logged model without params, tags or files."""
    return str(client.create_logged_model(experiment_id, name="plain").model_id)


def names(found: Any) -> list[str]:
    return [model.name for model in found]


# -- with MLflow's client ----------------------------------------------------------------------------------------------


def test_a_scikit_learn_model_is_logged_and_loaded_by_run_and_by_id(
    client: mlflow.MlflowClient, ours: Rest, experiment_id: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other people's code
        from sklearn.linear_model import LinearRegression

        model = LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
        with mlflow.start_run(experiment_id=experiment_id) as run:
            logged = mlflow.sklearn.log_model(
                model, name="line", pip_requirements=[], params={"slope": "2"}, serialization_format="cloudpickle"
            )
        for uri in (f"runs:/{run.info.run_id}/line", f"models:/{logged.model_id}"):
            assert mlflow.sklearn.load_model(uri).predict([[3.0]])[0] == pytest.approx(6.0)
    found = client.get_logged_model(logged.model_id)
    assert (found.status, found.name, found.source_run_id) == (LoggedModelStatus.READY, "line", run.info.run_id)
    assert found.params == {"slope": "2"}
    listed = ours.get(f"logged-models/{logged.model_id}/artifacts/directories").body
    assert listed["root_uri"] == found.artifact_location
    assert "MLmodel" in {file["path"] for file in listed["files"]}
    files = f"/ajax-api/2.0/mlflow/logged-models/{logged.model_id}/artifacts/files"
    shown = ours.get(files, {"artifact_file_path": "MLmodel"})
    assert (shown.status, shown.headers["content-type"]) == (200, "text/plain")
    assert b"sklearn" in shown.content
    assert ours.get(files).error[:2] == (400, "BAD_REQUEST")
    assert ours.get(files, {"artifact_file_path": "../MLmodel"}).error[2] == "Invalid path"


def test_a_model_is_created_finalized_tagged_searched_and_deleted(
    client: mlflow.MlflowClient, experiment_id: str
) -> None:
    created = client.create_logged_model(
        experiment_id, name="net", tags={"team": "a"}, params={"depth": "3"}, model_type="Agent"
    )
    assert created.model_id.startswith("m-")
    assert len(created.model_id) == 34
    assert created.artifact_location == f"mlflow-artifacts:/{experiment_id}/models/{created.model_id}/artifacts"
    assert (created.status, created.model_type, created.source_run_id) == (LoggedModelStatus.PENDING, "Agent", "")
    assert client.finalize_logged_model(created.model_id, "READY").status == LoggedModelStatus.READY
    assert client.finalize_logged_model(created.model_id, LoggedModelStatus.FAILED).status == LoggedModelStatus.FAILED
    client.set_logged_model_tags(created.model_id, {"team": "b", "x/y": "z"})
    client.delete_logged_model_tag(created.model_id, "x/y")
    with pytest.raises(MlflowException, match="No tag with key 'x/y' found for model with ID"):
        client.delete_logged_model_tag(created.model_id, "x/y")
    client.log_model_params(created.model_id, {"width": "5", "depth": "3"})
    found = client.get_logged_model(created.model_id)
    assert (found.tags, found.params) == ({"team": "b"}, {"depth": "3", "width": "5"})
    assert names(client.search_logged_models([experiment_id], filter_string="name = 'net'")) == ["net"]
    client.delete_logged_model(created.model_id)
    client.delete_logged_model(created.model_id)
    assert client.search_logged_models([experiment_id]) == []
    with pytest.raises(MlflowException, match=f"Logged model with ID '{created.model_id}' not found."):
        client.get_logged_model(created.model_id)


def test_a_model_without_a_name_gets_one(client: mlflow.MlflowClient, experiment_id: str) -> None:
    assert client.create_logged_model(experiment_id).name


def test_searches_filter_order_and_page(client: mlflow.MlflowClient, experiment_id: str) -> None:
    run_id = client.create_run(experiment_id).info.run_id
    models = {
        name: client.create_logged_model(
            experiment_id, name=name, params={"lr": lr}, tags={"kind": kind}, source_run_id=run_id
        ).model_id
        for name, lr, kind in (("a", "0.1", "x"), ("b", "0.2", "x"), ("c", "0.1", "y"))
    }
    client.finalize_logged_model(models["c"], "READY")
    client.log_metric(run_id, "loss", 0.5, model_id=models["a"], dataset_name="train", dataset_digest="1")
    client.log_metric(run_id, "loss", 0.25, model_id=models["b"], dataset_name="train", dataset_digest="2")
    client.log_metric(run_id, "loss", 0.75, timestamp=1, model_id=models["b"], dataset_name="test", dataset_digest="1")

    def search(**arguments: Any) -> list[str]:
        return names(client.search_logged_models([experiment_id], **arguments))

    by_name = [{"field_name": "name"}]
    assert search() == ["c", "b", "a"]
    for filter_string, expected in (
        ("params.lr = '0.1'", ["a", "c"]),
        ("tags.kind = 'x' AND params.lr != '0.1'", ["b"]),
        ("name LIKE 'a%'", ["a"]),
        ("name IN ('a', 'c')", ["a", "c"]),
        (f"model_id = '{models['b']}'", ["b"]),
        (f"source_run_id = '{run_id}'", ["a", "b", "c"]),
        ("status = 'READY'", ["c"]),
        ("creation_timestamp > 0", ["a", "b", "c"]),
        ("metrics.loss < 0.4", ["b"]),
        ("metrics.loss > 0.4", ["a", "b"]),
        ("name = 'nowhere'", []),
    ):
        assert search(filter_string=filter_string, order_by=by_name) == expected, filter_string
    train = [{"dataset_name": "train"}]
    assert search(filter_string="metrics.loss > 0.4", datasets=train) == ["a"]
    assert search(datasets=[{"dataset_name": "train", "dataset_digest": "2"}]) == ["b"]
    assert search(datasets=[{"dataset_name": "test"}, {"dataset_name": "train"}], order_by=by_name) == ["a", "b"]
    assert search(order_by=[{"field_name": "metrics.loss"}]) == ["b", "a", "c"]
    assert search(order_by=[{"field_name": "metrics.loss", "ascending": False}]) == ["a", "b", "c"]
    assert search(order_by=[{"field_name": "metrics.loss", "dataset_name": "test"}]) == ["b", "c", "a"]
    metric = client.search_logged_models([experiment_id], filter_string="name = 'a'")[0].metrics[0]
    assert (metric.key, metric.value, metric.dataset_name, metric.run_id) == ("loss", 0.5, "train", run_id)

    first = client.search_logged_models([experiment_id], max_results=2, order_by=by_name)
    second = client.search_logged_models([experiment_id], max_results=2, order_by=by_name, page_token=first.token)
    assert (names(first), names(second), second.token) == (["a", "b"], ["c"], None)
    with pytest.raises(MlflowException, match="page_token"):
        client.search_logged_models([experiment_id], page_token=first.token)


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_a_search_that_finds_nothing_answers_an_empty_object(ours: Rest, experiment_id: str) -> None:
    asked = {"experiment_ids": [experiment_id], "filter": "name = 'a.txt'"}
    assert ours.post("logged-models/search", asked).body == {}


@pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", "a%b", 'a"b', "a'b"])
def test_bad_names_are_refused_with_the_messages_of_mlflow(ours: Rest, experiment_id: str, name: str) -> None:
    answer = ours.post("logged-models", {"experiment_id": experiment_id, "name": name})
    assert answer.error == (
        400,
        "INVALID_PARAMETER_VALUE",
        f"Invalid model name ({name!r}) provided. Model name must be a non-empty string and cannot contain the "
        """following characters: ('/', ':', '.', '%', '"', "'")""",
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "Missing value for required parameter 'experiment_id'"),
        ({"experiment_id": "x"}, "Invalid experiment ID 'x'"),
        ({"name": 5}, "Invalid value 5 for parameter 'name'"),
        ({"name": "a\0b"}, "NUL"),
        ({"name": "n" * 501}, "501 characters"),
        ({"model_type": "n" * 501}, "501 characters"),
        ({"source_run_id": "x"}, "source_run_id"),
        ({"params": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]}, "written once"),
        ({"params": [{"key": "", "value": "1"}]}, "empty key"),
        ({"tags": [{"key": "k" * 256, "value": "1"}]}, "256 characters"),
        ({"tags": [{"key": "k", "value": "\ud800"}]}, ""),
        ({"tags": {"k": "v"}}, "Invalid value"),
    ],
)
def test_bad_creations_are_refused_with_the_field(
    ours: Rest, experiment_id: str, body: dict[str, Any], words: str
) -> None:
    answer = ours.post("logged-models", {"experiment_id": experiment_id, **body} if body else {})
    assert answer.status == 400
    assert words in answer.error[2]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"experiment_ids": None}, "Missing value for required parameter 'experiment_ids'"),
        ({"experiment_ids": ["x"]}, "Invalid experiment ID 'x'"),
        ({"filter": "name = 'a' XOR name = 'b'"}, "filter"),
        ({"filter": "tags.a < 'b'"}, ""),
        ({"max_results": -1}, "max_results"),
        ({"max_results": 2**40}, "max_results"),
        ({"datasets": [{"dataset_digest": "1"}]}, "`dataset_name` in the `datasets` clause must be specified."),
        ({"datasets": [{"dataset_name": "a\0"}]}, "NUL"),
        ({"order_by": [{"field_name": "params.a"}]}, "Invalid order_by entity: parameter"),
        ({"order_by": [{"field_name": "nothing"}]}, "nothing"),
        ({"order_by": [{}]}, "order_by[0].field_name"),
        ({"order_by": ["name"]}, "order_by"),
        ({"page_token": "x"}, "page_token"),
    ],
)
def test_bad_searches_are_refused_with_the_field(
    ours: Rest, experiment_id: str, body: dict[str, Any], words: str
) -> None:
    answer = ours.post("logged-models/search", {"experiment_ids": [experiment_id], **body})
    assert answer.error[:2] == (400, "INVALID_PARAMETER_VALUE")
    assert words in answer.error[2]


def test_what_names_no_model_is_not_found(ours: Rest) -> None:
    for model_id in (f"m-{uuid.uuid4().hex}", "x", "ü"):
        for method, path, body in (
            ("GET", "", None), ("DELETE", "", None), ("PATCH", "", {"status": "LOGGED_MODEL_READY"}),
            ("POST", "/params", {}), ("PATCH", "/tags", {}), ("DELETE", "/tags/k", None),
            ("GET", "/artifacts/directories", None),
        ):  # fmt: skip
            answer = ours.send(method, f"logged-models/{model_id}{path}", body)
            assert answer.error == (404, "RESOURCE_DOES_NOT_EXIST", f"Logged model with ID '{model_id}' not found.")


def test_params_are_written_once_and_may_be_sent_again(ours: Rest, model_id: str) -> None:
    params = f"logged-models/{model_id}/params"
    for _ in range(2):
        assert ours.post(params, {"params": [{"key": "a", "value": "1"}]}).body == {}
    answer = ours.post(params, {"params": [{"key": "b", "value": "1"}, {"key": "a", "value": "2"}]})
    assert answer.error[:2] == (400, "INVALID_PARAMETER_VALUE")
    data = ours.get(f"logged-models/{model_id}").body["model"]["data"]
    assert data == {"params": [{"key": "a", "value": "1"}]}
    assert ours.send("PATCH", f"logged-models/{model_id}", {"status": "DONE"}).error[:2] == (
        400, "INVALID_PARAMETER_VALUE",
    )  # fmt: skip
    assert ours.send("PATCH", f"logged-models/{model_id}", {"status": 2}).body["model"]["info"]["status"] == (
        "LOGGED_MODEL_READY"
    )


def test_many_callers_tag_one_model_at_once(server: str, model_id: str) -> None:
    def tag(number: int) -> int:
        rest = Rest(server)
        keys = [{"key": f"k{(number * 7 + key) % 20}", "value": str(number)} for key in range(20)]
        status = rest.send("PATCH", f"logged-models/{model_id}/tags", {"tags": [*keys, keys[0]]}).status
        rest.close()
        return status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(tag, range(24))) == {200}


def test_deleted_models_are_shown_to_who_asks_for_them(ours: Rest, model_id: str) -> None:
    ours.send("DELETE", f"logged-models/{model_id}")
    assert ours.get(f"logged-models/{model_id}").status == 404
    found = ours.get(f"logged-models/{model_id}", {"allow_deleted": "true"}).body["model"]["info"]
    assert found["name"] == "plain"
    assert ours.post("logged-models", {"experiment_id": "999999"}).error[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
