"""The model registry: through MLflow's client, by hand, side by side with a stock server, and many callers at once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from tests.support.rest import Answer, Rest

INVALID, MISSING, TAKEN = "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"
SOURCE = "s3://bucket/model"
MODELS, VERSIONS = "registered-models", "model-versions"

# Text that differs between any two servers.
_TIMES = ("creation_timestamp", "last_updated_timestamp")


@pytest.fixture
def name() -> str:
    return f"model-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def model(ours: Rest, name: str) -> str:
    """A registered model without versions."""
    assert ours.post(f"{MODELS}/create", {"name": name}).status == 200
    return name


def new_version(rest: Rest, name: str, **fields: Any) -> dict[str, Any]:
    answer = rest.post(f"{VERSIONS}/create", {"name": name, "source": SOURCE, **fields})
    assert answer.status == 200, answer.content
    version: dict[str, Any] = answer.body["model_version"]
    return version


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


# -- side by side with a stock server --------------------------------------------------------------------------------

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
        mine, stock = (_shown(_call(rest, method, path, own)) for rest in (ours, theirs))
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
    _call(ours, "POST", f"{MODELS}/create", {"name": f"{prefix}-m"})
    new_version(ours, f"{prefix}-m")
    for method, path, fields, status, code, named in BETTER:
        answer = _call(ours, method, path, _with_own_names(fields, prefix))
        assert (answer.status, answer.body.get("error_code", "")) == (status, code), (path, fields, answer.content)
        assert named in answer.body.get("message", "")


def _call(rest: Rest, method: str, path: str, fields: dict[str, Any]) -> Answer:
    return rest.get(path, fields) if method == "GET" else rest.send(method, path, fields)


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


# -- many at once ----------------------------------------------------------------------------------------------------

Wanted = tuple[str, str, dict[str, Any]]


def at_once(server: str, calls: list[Wanted]) -> list[Answer]:
    """Each from a connection of its own."""

    def one(call: Wanted) -> Answer:
        rest = Rest(server)
        try:
            return _call(rest, *call)
        finally:
            rest.close()

    with ThreadPoolExecutor(20) as pool:
        return list(pool.map(one, calls))


def test_twenty_versions_at_once_are_one_to_twenty(server: str, model: str) -> None:
    answers = at_once(server, [("POST", f"{VERSIONS}/create", {"name": model, "source": SOURCE})] * 20)
    assert {answer.status for answer in answers} == {200}
    assert sorted(int(answer.body["model_version"]["version"]) for answer in answers) == list(range(1, 21))


def test_of_twenty_who_create_one_model_one_does(server: str, name: str) -> None:
    answers = at_once(server, [("POST", f"{MODELS}/create", {"name": name})] * 20)
    assert sorted(answer.status for answer in answers) == [200] + [400] * 19
    assert {answer.body["error_code"] for answer in answers if answer.status != 200} == {TAKEN}


def test_all_kinds_of_writes_at_once_end_without_a_failure_of_the_server(server: str, ours: Rest, name: str) -> None:
    names = [f"{name}-{letter}" for letter in "abc"]
    for one in names:
        ours.post(f"{MODELS}/create", {"name": one})
        new_version(ours, one)
    calls: list[Wanted] = []
    for turn in range(8):
        a, b = names[turn % 3], names[(turn + 1) % 3]
        first, second = {"name": a, "version": "1"}, {"name": a, "version": "2"}
        stage = {"stage": "Production", "archive_existing_versions": True}
        calls += [
            ("POST", f"{MODELS}/rename", {"name": a, "new_name": b}),
            ("POST", f"{MODELS}/rename", {"name": a, "new_name": f"{b}2"}),
            ("POST", f"{MODELS}/rename", {"name": f"{b}2", "new_name": a}),
            ("POST", f"{VERSIONS}/create", {"name": a, "source": SOURCE}),
            ("POST", f"{VERSIONS}/create", {"name": a, "source": f"models:/{a}/1"}),
            ("POST", f"{VERSIONS}/set-tag", {**first, "key": "k", "value": "v"}),
            ("POST", f"{MODELS}/alias", {**first, "alias": "champion"}),
            ("POST", f"{VERSIONS}/transition-stage", {**first, **stage}),
            ("DELETE", f"{VERSIONS}/delete", second),
            ("POST", f"{MODELS}/alias", {**second, "alias": "second"}),
        ]
        if turn in (3, 6):
            calls += [("DELETE", f"{MODELS}/delete", {"name": a}), ("POST", f"{MODELS}/create", {"name": a})]
    answers = at_once(server, calls)
    assert [answer.content for answer in answers if answer.status >= 500] == []
