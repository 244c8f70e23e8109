"""Teams do not see each other: what is in another workspace is not there, in any of MLflow's routes."""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.rest import Rest
from tests.support.serve import ServeProcess


@dataclass(frozen=True)
class Things:
    """One of everything that a workspace has, by id; `name` is a registered model with one version."""

    experiment: str
    run: str
    model: str
    name: str
    file: str

    def fill(self, text: str) -> str:
        """The text with ids in the place of their names."""
        for name, id_ in vars(self).items():
            text = text.replace(f"«{name}»", id_)
        return text


ABSENT = Things("987654321", "ab" * 16, f"m-{'cd' * 16}", "no-such-model", "987654321/a")


@pytest.fixture(scope="module")
def owner(guarded: ServeProcess, tokens: Mapping[str, str]) -> Iterator[Rest]:
    """A REST caller with the token of team-a."""
    with contextlib.closing(Rest(guarded.http_url, token=tokens["team-a"])) as rest:
        yield rest


@pytest.fixture(scope="module")
def theirs(owner: Rest) -> Things:
    """Things of team-a, with a metric, a param, a tag, an input and files. No test can change them."""
    experiment = owner.post("experiments/create", {"name": f"of a {uuid.uuid4().hex}"}).body["experiment_id"]
    run = owner.post("runs/create", {"experiment_id": experiment}).body["run"]["info"]
    run_id = run["run_id"]
    batch = {
        "metrics": [{"key": "loss", "value": 0.5, "timestamp": 1, "step": 1}],
        "params": [{"key": "secret", "value": "of team-a"}],
        "tags": [],
    }
    assert owner.post("runs/log-batch", {"run_id": run_id, **batch}).status == 200
    dataset = {"name": "digits", "digest": "1", "source_type": "s", "source": "s"}
    assert owner.post("runs/log-inputs", {"run_id": run_id, "datasets": [{"dataset": dataset}]}).status == 200
    model = owner.post("logged-models", {"experiment_id": experiment, "source_run_id": run_id}).body["model"]["info"]
    name = f"model-{uuid.uuid4().hex[:8]}"
    assert owner.post("registered-models/create", {"name": name}).status == 200
    version = {"name": name, "source": f"{run['artifact_uri']}/model", "run_id": run_id}
    assert owner.post("model-versions/create", version).status == 200
    file = run["artifact_uri"].removeprefix("mlflow-artifacts:/") + "/model/secret.txt"
    assert owner.request("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{file}", b"of team-a").status == 200
    return Things(experiment, run_id, model["model_id"], name, file)


@pytest.fixture(scope="module")
def before(owner: Rest, theirs: Things) -> list[bytes]:
    """Everything that team-a sees before the others come."""
    return everything(owner, theirs)


_BATCH = {"metrics": [{"key": "loss", "value": 9.0, "timestamp": 2, "step": 2}], "params": [], "tags": []}
_DATASET = {"name": "d", "digest": "1", "source_type": "s", "source": "s"}
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
# Each names a thing of others; what comes back must be what comes back for a thing that is not there.
OF_OTHERS: Sequence[tuple[str, str, Any]] = (
    ("GET", "experiments/get?experiment_id=«experiment»", None),
    ("POST", "experiments/update", {"experiment_id": "«experiment»", "new_name": "mine"}),
    ("POST", "experiments/delete", {"experiment_id": "«experiment»"}),
    ("POST", "experiments/restore", {"experiment_id": "«experiment»"}),
    ("POST", "experiments/set-experiment-tag", {"experiment_id": "«experiment»", "key": "a", "value": "b"}),
    ("POST", "experiments/search-datasets", {"experiment_ids": ["«experiment»"]}),
    ("POST", "runs/create", {"experiment_id": "«experiment»"}),
    ("POST", "runs/search", {"experiment_ids": ["«experiment»"]}),
    ("GET", "runs/get?run_id=«run»", None),
    ("POST", "runs/update", {"run_id": "«run»", "status": "FINISHED"}),
    ("POST", "runs/delete", {"run_id": "«run»"}),
    ("POST", "runs/restore", {"run_id": "«run»"}),
    ("POST", "runs/log-metric", {"run_id": "«run»", "key": "loss", "value": 1.0, "timestamp": 1}),
    ("POST", "runs/log-batch", {"run_id": "«run»", **_BATCH}),
    ("POST", "runs/log-parameter", {"run_id": "«run»", "key": "secret", "value": "mine"}),
    ("POST", "runs/set-tag", {"run_id": "«run»", "key": "a", "value": "b"}),
    ("POST", "runs/delete-tag", {"run_id": "«run»", "key": "mlflow.runName"}),
    ("POST", "runs/log-inputs", {"run_id": "«run»", "datasets": [{"dataset": _DATASET}]}),
    ("POST", "runs/outputs", {"run_id": "«run»", "models": [{"model_id": "«model»", "step": 0}]}),
    ("POST", "runs/log-model", {"run_id": "«run»", "model_json": '{"artifact_path": "a"}'}),
    ("GET", "metrics/get-history?run_id=«run»&metric_key=loss", None),
    ("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk?run_id=«run»&metric_key=loss", None),
    ("GET", "metrics/get-history-bulk-interval?run_ids=«run»&metric_key=loss&max_results=10", None),
    ("GET", "artifacts/list?run_id=«run»", None),
    ("GET", "/get-artifact?run_id=«run»&path=model/secret.txt", None),
    ("POST", "/ajax-api/2.0/mlflow/upload-artifact?run_id=«run»&path=mine", {"a": 1}),
    ("GET", f"{_ARTIFACTS}/«file»", None),
    ("PUT", f"{_ARTIFACTS}/«file»", {"a": 1}),
    ("DELETE", f"{_ARTIFACTS}/«file»", None),
    ("GET", f"{_ARTIFACTS}?path=«experiment»", None),
    ("POST", "logged-models", {"experiment_id": "«experiment»"}),
    ("POST", "logged-models/search", {"experiment_ids": ["«experiment»"]}),
    ("GET", "logged-models/«model»", None),
    ("PATCH", "logged-models/«model»", {"status": "LOGGED_MODEL_READY"}),
    ("DELETE", "logged-models/«model»", None),
    ("POST", "logged-models/«model»/params", {"params": [{"key": "a", "value": "b"}]}),
    ("PATCH", "logged-models/«model»/tags", {"tags": [{"key": "a", "value": "b"}]}),
    ("GET", "logged-models/«model»/artifacts/directories", None),
    ("GET", "registered-models/get?name=«name»", None),
    ("PATCH", "registered-models/update", {"name": "«name»", "description": "mine"}),
    ("POST", "registered-models/rename", {"name": "«name»", "new_name": "mine"}),
    ("DELETE", "registered-models/delete", {"name": "«name»"}),
    ("GET", "registered-models/search?filter=name='«name»'", None),
    ("GET", "model-versions/get?name=«name»&version=1", None),
    ("GET", "model-versions/get-download-uri?name=«name»&version=1", None),
    ("GET", "model-versions/search?filter=run_id='«run»'", None),
    ("GET", "/model-versions/get-artifact?name=«name»&version=1&path=secret.txt", None),
    ("POST", "/graphql", {"query": '{ mlflowGetRun(input: {runId: "«run»"}) { run { info { runName } } } }'}),
    ("POST", "/graphql", {"query": '{ mlflowListArtifacts(input: {runId: "«run»"}) { files { path } } }'}),
    (
        "POST",
        "/graphql",
        {"query": '{ mlflowGetExperiment(input: {experimentId: "«experiment»"}) { experiment { name } } }'},
    ),
    (
        "POST",
        "/graphql",
        {"query": '{ mlflowSearchRuns(input: {experimentIds: ["«experiment»"]}) { runs { info { runName } } } }'},
    ),
)


@pytest.mark.parametrize(("method", "path", "body"), OF_OTHERS, ids=[f"{one[0]} {one[1]}" for one in OF_OTHERS])
def test_what_belongs_to_others_is_answered_like_what_is_not_there(
    method: str, path: str, body: Any, theirs: Things, before: list[bytes], owner: Rest, team_b: Rest
) -> None:
    answers = []
    for things in (theirs, ABSENT):
        content = None if body is None else things.fill(json.dumps(body)).encode()
        headers = {"content-type": "application/json"} if content else {}
        answer = team_b.request(method, things.fill(path), content, headers)
        answers.append((answer.status, without_ids(answer.content.decode(), things)))
    assert answers[0] == answers[1]
    assert everything(owner, theirs) == before


def everything(owner: Rest, things: Things) -> list[bytes]:
    """Everything that the owner sees."""
    paths = (
        "experiments/get?experiment_id=«experiment»",
        "runs/get?run_id=«run»",
        "artifacts/list?run_id=«run»",
        "logged-models/«model»",
        "registered-models/get?name=«name»",
        f"{_ARTIFACTS}/«file»",
    )
    answers = [owner.get(things.fill(path)) for path in paths]
    assert [answer.status for answer in answers] == [200] * len(paths)
    return [answer.content for answer in answers]


def without_ids(text: str, things: Things) -> str:
    """An answer with the names of ids in the place of ids, and without the id of a new run."""
    names = {id_: f"«{name}»" for name, id_ in vars(things).items()}
    known = [re.escape(id_) for id_ in sorted(names, key=len, reverse=True)]
    long = [id_ for id_ in known if len(id_) >= 32]
    # Any other id before the short ones: the number of an experiment may be within it.
    any_of_them = "|".join([*long, "[0-9a-f]{32}", *known[len(long) :]])
    return re.sub(any_of_them, lambda found: names.get(found[0], "«id»"), text)


def test_a_name_may_be_there_in_each_workspace(team_a: Rest, team_b: Rest) -> None:
    name = f"shared {uuid.uuid4().hex}"
    for rest in (team_a, team_b):
        assert rest.post("experiments/create", {"name": name}).status == 200
        assert rest.post("registered-models/create", {"name": name}).status == 200
        assert rest.post("registered-models/set-tag", {"name": name, "key": "of", "value": rest.url}).status == 200
    assert team_a.send("DELETE", "registered-models/delete", {"name": name}).status == 200
    assert team_b.get("registered-models/get", {"name": name}).status == 200


def test_searches_that_mix_what_is_ours_and_theirs_find_what_is_ours(theirs: Things, team_b: Rest) -> None:
    mine = team_b.post("experiments/create", {"name": f"of b {uuid.uuid4().hex}"}).body["experiment_id"]
    run = team_b.post("runs/create", {"experiment_id": mine}).body["run"]["info"]["run_id"]
    team_b.post("runs/log-metric", {"run_id": run, "key": "loss", "value": 1.0, "timestamp": 1, "step": 0})
    both = {"experiment_ids": [theirs.experiment, mine]}
    assert [one["info"]["run_id"] for one in team_b.post("runs/search", both).body["runs"]] == [run]
    assert team_b.post("logged-models/search", both).body == {}
    assert team_b.post("experiments/search-datasets", both).body == {}
    assert "of a" not in team_b.get("experiments/search", {"max_results": 1_000}).content.decode()
    query = [("run_id", run), ("run_id", theirs.run), ("metric_key", "loss")]
    mixed = team_b.get("/ajax-api/2.0/mlflow/metrics/get-history-bulk", query)
    absent = team_b.get(
        "/ajax-api/2.0/mlflow/metrics/get-history-bulk", [(k, v.replace(theirs.run, ABSENT.run)) for k, v in query]
    )
    assert (mixed.status, without_ids(mixed.content.decode(), theirs)) == (
        absent.status,
        without_ids(absent.content.decode(), ABSENT),
    )


def test_a_location_of_ones_own_is_for_admins(theirs: Things, team_b: Rest, admin: Rest) -> None:
    for location in (f"mlflow-artifacts:/{theirs.experiment}", "s3://bucket/of-b"):
        refused = team_b.post("experiments/create", {"name": f"x {uuid.uuid4().hex}", "artifact_location": location})
        assert refused.error[:2] == (400, "INVALID_PARAMETER_VALUE")
        assert refused.error[2].startswith("artifact_location cannot be specified when workspaces are enabled")
    body = {"name": f"x {uuid.uuid4().hex}", "artifact_location": "s3://a/b"}
    made = admin.request("POST", "experiments/create", json.dumps(body).encode(), {"x-mlflow-workspace": "team-b"})
    assert team_b.get("experiments/get", made.body).body["experiment"]["artifact_location"] == "s3://a/b"


def test_a_model_version_cannot_have_its_files_in_another_workspace(theirs: Things, team_b: Rest) -> None:
    name = f"thief-{uuid.uuid4().hex[:8]}"
    assert team_b.post("registered-models/create", {"name": name}).status == 200
    place = theirs.file.removesuffix("/secret.txt")
    mine = team_b.post("runs/create", {"experiment_id": "0"}).body["run"]["info"]["run_id"]
    sources = (
        {"source": f"mlflow-artifacts:/{place}"},
        {"source": f"mlflow-artifacts:/{place}", "run_id": theirs.run},
        {"source": f"mlflow-artifacts:/{place}", "run_id": mine},
        {"source": f"mlflow-artifacts:/{place}", "model_id": theirs.model},
        {"source": f"runs:/{theirs.run}/model", "run_id": theirs.run},
        {"source": f"models:/{theirs.model}", "model_id": theirs.model},
        {"source": f"models:/{theirs.name}/1"},
    )
    for source in sources:
        created = team_b.post("model-versions/create", {"name": name, **source})
        if created.status != 200:
            assert created.status in (400, 404), source
            continue
        version = created.body["model_version"]["version"]
        read = team_b.get("/model-versions/get-artifact", {"name": name, "version": version, "path": "secret.txt"})
        assert read.status in (400, 404), source
        assert b"of team-a" not in read.content
