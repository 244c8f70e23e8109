"""The model registry, through MLflow's client and REST."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from runstream_bench.http_client import Answer
from tests.mlflow.registry import INVALID, MISSING, MODELS, SOURCE, TAKEN, VERSIONS, new_version
from tests.support.rest import Rest


def get_model(rest: Rest, name: str) -> dict[str, Any]:
    found: dict[str, Any] = rest.get(f"{MODELS}/get", {"name": name}).body["registered_model"]
    return found


def names_in(answer: Answer) -> list[str]:
    return [model["name"] for model in answer.body.get("registered_models", [])]


# -- through MLflow's client -----------------------------------------------------------------------------------------


def test_a_registered_model_lives_as_the_client_says(client: mlflow.MlflowClient, name: str) -> None:
    client.create_registered_model(name, tags={"team": "a"}, description="first")
    client.update_registered_model(name, description="second")
    client.set_registered_model_tag(name, "stage", "x")
    client.delete_registered_model_tag(name, "team")
    found = client.get_registered_model(name)
    assert (found.description, found.tags, found.latest_versions) == ("second", {"stage": "x"}, [])
    assert found.last_updated_timestamp >= found.creation_timestamp > 1_600_000_000_000
    client.delete_registered_model(name)
    with pytest.raises(MlflowException, match=f"Registered Model with name={name} not found") as raised:
        client.get_registered_model(name)
    assert raised.value.error_code == MISSING


def test_a_version_lives_as_the_client_says(client: mlflow.MlflowClient, name: str) -> None:
    client.create_registered_model(name)
    client.create_model_version(name, SOURCE, run_id="r", run_link="l", description="d", tags={"a": "1"})
    client.update_model_version(name, "1", "new")
    client.set_model_version_tag(name, "1", "b", "2")
    client.delete_model_version_tag(name, "1", "a")
    found = client.get_model_version(name, "1")
    assert (found.version, found.source, found.run_id, found.run_link) == ("1", SOURCE, "r", "l")
    assert (found.description, found.tags, found.status, found.current_stage) == ("new", {"b": "2"}, "READY", "None")
    assert client.get_model_version_download_uri(name, "1") == SOURCE
    client.delete_model_version(name, "1")
    with pytest.raises(MlflowException, match="not found"):
        client.get_model_version(name, "1")


def test_the_number_of_a_deleted_version_is_not_given_again(ours: Rest, model: str) -> None:
    for version in ("1", "2"):
        assert new_version(ours, model)["version"] == version
    ours.send("DELETE", f"{VERSIONS}/delete", {"name": model, "version": "2"})
    assert new_version(ours, model)["version"] == "3"


def test_aliases_point_at_versions(client: mlflow.MlflowClient, name: str) -> None:
    client.create_registered_model(name)
    for _ in range(2):
        client.create_model_version(name, SOURCE)
    client.set_registered_model_alias(name, "champion", "1")
    client.set_registered_model_alias(name, "champion", "2")
    client.set_registered_model_alias(name, "challenger", "2")
    assert client.get_registered_model(name).aliases == {"champion": "2", "challenger": "2"}
    assert client.get_model_version_by_alias(name, "champion").aliases == ["challenger", "champion"]
    client.delete_registered_model_alias(name, "challenger")
    assert client.get_model_version(name, "2").aliases == ["champion"]
    assert client.get_model_version_by_alias(name, "latest").version == "2"
    client.delete_model_version(name, "2")
    assert client.get_registered_model(name).aliases == {}
    with pytest.raises(MlflowException, match="Registered model alias champion not found"):
        client.get_model_version_by_alias(name, "champion")


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_stages_move_and_archive(client: mlflow.MlflowClient, name: str) -> None:
    client.create_registered_model(name)
    for _ in range(3):
        client.create_model_version(name, SOURCE)
    client.transition_model_version_stage(name, "1", "production")
    client.transition_model_version_stage(name, "2", "Production", archive_existing_versions=True)
    latest = client.get_latest_versions(name)
    assert {version.current_stage: version.version for version in latest} == {
        "Archived": "1",
        "Production": "2",
        "None": "3",
    }
    assert [version.version for version in client.get_latest_versions(name, ["PRODUCTION"])] == ["2"]


def test_renaming_keeps_versions_tags_and_aliases(client: mlflow.MlflowClient, name: str) -> None:
    client.create_registered_model(name, tags={"a": "1"})
    client.create_model_version(name, SOURCE, tags={"b": "2"})
    client.set_registered_model_alias(name, "champion", "1")
    client.rename_registered_model(name, f"{name}-new")
    renamed = client.get_registered_model(f"{name}-new")
    assert (renamed.tags, renamed.aliases, renamed.latest_versions[0].name) == (
        {"a": "1"},
        {"champion": "1"},
        f"{name}-new",
    )
    assert client.get_model_version(f"{name}-new", "1").tags == {"b": "2"}
    with pytest.raises(MlflowException, match="not found"):
        client.get_registered_model(name)


def test_a_copy_of_a_version_points_at_the_files_of_the_first(client: mlflow.MlflowClient, name: str) -> None:
    client.create_registered_model(name)
    first = client.create_model_version(name, SOURCE, run_id="r")
    copy = client.copy_model_version(f"models:/{name}/{first.version}", f"{name}-copy")
    again = client.copy_model_version(f"models:/{name}-copy/{copy.version}", f"{name}-again")
    assert (again.source, again.run_id) == (f"models:/{name}-copy/1", "r")
    assert client.get_model_version_download_uri(f"{name}-again", "1") == SOURCE


# -- what a version may be made of -----------------------------------------------------------------------------------


def test_a_version_of_a_run_is_below_the_runs_artifacts(ours: Rest, model: str, experiment_id: str) -> None:
    run = ours.post("runs/create", {"experiment_id": experiment_id}).body["run"]["info"]
    run_id, root = run["run_id"], run["artifact_uri"]
    assert new_version(ours, model, source=f"{root}/model", run_id=run_id)["source"] == f"{root}/model"
    assert new_version(ours, model, source=f"runs:/{run_id}/model", run_id=run_id)["run_id"] == run_id
    other = ours.post("runs/create", {"experiment_id": experiment_id}).body["run"]["info"]["run_id"]
    outside = (f"{root}/model", f"{root}/%2e%2e/{other}", f"runs:/{run_id}/model", f"{root}x/model")
    for source in outside:
        answer = ours.post(f"{VERSIONS}/create", {"name": model, "source": source, "run_id": other})
        assert answer.error[:2] == (400, INVALID), source


def test_a_local_path_is_below_the_local_artifacts_of_its_run(ours: Rest, model: str) -> None:
    place = f"/srv/{uuid.uuid4().hex}"
    created = ours.post("experiments/create", {"name": place, "artifact_location": place})
    run = ours.post("runs/create", {"experiment_id": created.body["experiment_id"]}).body["run"]["info"]
    inside = f"{place}/{run['run_id']}/artifacts/model"
    for source in (inside, f"file://{inside}"):
        assert new_version(ours, model, source=source, run_id=run["run_id"])["source"] == source
    for source in (f"{inside}/../../../x", "/etc/passwd", "file:///etc", place):
        answer = ours.post(f"{VERSIONS}/create", {"name": model, "source": source, "run_id": run["run_id"]})
        assert answer.error[:2] == (400, INVALID), source


@pytest.mark.parametrize("scheme", ["abfss", "hdfs", "viewfs", "ftp", "sftp", "http", "https", "r2", "b2"])
def test_models_of_an_experiment_that_keeps_its_files_elsewhere_are_registered(
    client: mlflow.MlflowClient, ours: Rest, model: str, scheme: str
) -> None:
    place = f"{scheme}://bucket@files.example.com/{uuid.uuid4().hex}"
    experiment_id = client.create_experiment(place, artifact_location=place)
    run = client.create_run(experiment_id).info
    logged = client.create_logged_model(experiment_id, source_run_id=run.run_id)
    of_run = client.create_model_version(model, f"{run.artifact_uri}/model", run.run_id)
    of_model = client.create_model_version(model, f"models:/{logged.model_id}", model_id=logged.model_id)
    file_of_model = client.create_model_version(model, f"{logged.artifact_location}/a", model_id=logged.model_id)
    sources = [client.get_model_version_download_uri(model, str(number)) for number in (1, 2, 3)]
    assert sources == [f"{run.artifact_uri}/model", logged.artifact_location, f"{logged.artifact_location}/a"]
    assert [version.run_id for version in (of_run, of_model, file_of_model)] == [run.run_id] * 3
    other = client.create_run(experiment_id).info
    for source, origin in (
        (f"{run.artifact_uri}/model", {"run_id": other.run_id}),
        (f"{run.artifact_uri}/model", {"model_id": logged.model_id}),
        (f"{run.artifact_uri}/model", {}),
        (f"{scheme}://bucket@elsewhere.example.com/{run.run_id}/artifacts/model", {"run_id": run.run_id}),
        (f"{run.artifact_uri}/../../{other.run_id}/artifacts", {"run_id": run.run_id}),
    ):
        answer = ours.post(f"{VERSIONS}/create", {"name": model, "source": source, **origin})
        assert answer.error[:2] == (400, INVALID), (source, origin)


def test_a_prompt_is_found_only_by_who_asks_for_it(ours: Rest, name: str) -> None:
    tag = {"key": "mlflow.prompt.is_prompt", "value": "true"}
    assert ours.post(f"{MODELS}/create", {"name": name, "tags": [tag]}).status == 200
    new_version(ours, name, source="dummy-source", tags=[tag])
    prompts = "tags.`mlflow.prompt.is_prompt` = 'true'"
    models = "tags.`mlflow.prompt.is_prompt` != 'true'"
    for searched in (MODELS, VERSIONS):
        found = [
            bool(ours.get(f"{searched}/search", {"filter": f"name = '{name}'{also}"}).body)
            for also in ("", f" AND {prompts}", f" AND {models}")
        ]
        assert found == [False, True, False], searched
    clash = ours.post(f"{MODELS}/create", {"name": name}).error
    assert clash[1] == TAKEN
    assert "already taken by a prompt" in clash[2]
    copied = ours.post(f"{VERSIONS}/create", {"name": name, "source": f"models:/{name}/1"})
    assert copied.error[:2] == (400, INVALID)


# -- searches --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shelf(server: str) -> Iterator[str]:
    """Models of one prefix: a, b and C with 1, 2 and 3 versions; the prefix."""
    prefix = f"shelf-{uuid.uuid4().hex[:12]}-"
    rest = Rest(server)
    for count, letter in enumerate("abC", start=1):
        tags = [{"key": "letter", "value": letter}]
        assert rest.post(f"{MODELS}/create", {"name": prefix + letter, "tags": tags}).status == 200
        for number in range(1, count + 1):
            new_version(
                rest, prefix + letter, run_id=f"run-{prefix}{number}", tags=[{"key": "n", "value": f"{number}"}]
            )
    yield prefix
    rest.close()


@pytest.mark.parametrize(
    ("filter_", "order_by", "found"),
    [
        ("name LIKE '{}%'", [], "Cab"),
        ("name LIKE '{}%'", ["name DESC"], "baC"),
        ("name LIKE '{}%'", ["timestamp ASC"], "abC"),
        ("name LIKE '{}%'", ["last_updated_timestamp DESC"], "Cba"),
        ("name ILIKE '{}c'", [], "C"),
        ("name = '{}c'", [], ""),
        ("name IN ('{0}a', '{0}b')", [], "ab"),
        ("name LIKE '{}%' AND tags.letter != 'a'", [], "Cb"),
        ("name LIKE '{}%' AND tag.`letter` ILIKE 'c' AND tags.letter = 'C'", [], "C"),
    ],
)
def test_models_are_found(ours: Rest, shelf: str, filter_: str, order_by: list[str], found: str) -> None:
    answer = ours.get(f"{MODELS}/search", {"filter": filter_.format(shelf), "order_by": order_by})
    assert "".join(name.removeprefix(shelf) for name in names_in(answer)) == found


@pytest.mark.parametrize(
    ("filter_", "order_by", "found"),
    [
        ("name LIKE '{}%'", [], ["C3", "C2", "C1", "b2", "b1", "a1"]),
        ("name LIKE '{}%'", ["name", "version_number ASC"], ["C1", "C2", "C3", "a1", "b1", "b2"]),
        ("name LIKE '{}%'", ["version_number DESC"], ["C3", "C2", "b2", "C1", "a1", "b1"]),
        ("name LIKE '{}%' AND version_number >= 2 AND tags.n != '3'", ["name"], ["C2", "b2"]),
        ("run_id = 'run-{}3'", [], ["C3"]),
        ("run_id IN ('run-{0}3', 'run-{0}2')", ["name ASC"], ["C3", "C2", "b2"]),
        ("name = '{}b' AND source_path LIKE 's3:%' AND version_number = '1'", [], ["b1"]),
        ("name = '{}b' AND version_number < 99999999999999999999", ["creation_timestamp"], ["b1", "b2"]),
    ],
)
def test_versions_are_found(ours: Rest, shelf: str, filter_: str, order_by: list[str], found: list[str]) -> None:
    answer = ours.get(f"{VERSIONS}/search", {"filter": filter_.format(shelf), "order_by": order_by})
    versions = answer.body.get("model_versions", [])
    assert [entry["name"].removeprefix(shelf) + entry["version"] for entry in versions] == found


def test_pages_come_one_after_the_other(client: mlflow.MlflowClient, ours: Rest, shelf: str) -> None:
    query = {"filter": f"name LIKE '{shelf}%'", "max_results": 2}
    first = ours.get(f"{MODELS}/search", query).body
    second = ours.get(f"{MODELS}/search", {**query, "page_token": first["next_page_token"]})
    assert (len(first["registered_models"]), names_in(second)) == (2, [f"{shelf}b"])
    assert "next_page_token" not in second.body
    found, token = [], None
    while token != "":
        page = client.search_model_versions(f"name = '{shelf}C'", max_results=2, page_token=token)
        found += [version.version for version in page]
        token = page.token or ""
    assert found == ["3", "2", "1"]
