"""Workspaces as MLflow's clients know them, on a service that asks for tokens."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException, RestException

from runstream_bench.http_client import Answer
from tests.support.access import make_token, make_workspace
from tests.support.rest import Rest
from tests.support.serve import ServeProcess
from tests.support.stock import stock_server

WORKSPACES = "/api/3.0/mlflow/workspaces"
DISABLED = "no workspace 'team-a': this service has no workspaces"


@pytest.fixture
def admin_client(
    guarded: ServeProcess, tokens: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> mlflow.MlflowClient:
    """MLflow with the token of an admin."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", tokens["admin"])
    mlflow.set_tracking_uri(guarded.http_url)
    return mlflow.MlflowClient()


def test_a_client_learns_before_it_signs_in_that_there_are_workspaces(guarded: ServeProcess, server: str) -> None:
    for url, enabled in ((guarded.http_url, True), (server, False)):
        for path in ("server-info", "server-features"):
            with contextlib.closing(Rest(url, prefix="/api/3.0/mlflow/")) as rest:
                answer = rest.request("GET", path, headers={"x-mlflow-workspace": "no-such-team"})
            assert answer.body["workspaces_enabled"] is enabled


def test_an_admin_makes_workspaces_with_mlflows_client(admin_client: mlflow.MlflowClient) -> None:
    name = f"made-{uuid.uuid4().hex[:8]}"
    assert admin_client.create_workspace(name, description="by the client").description == "by the client"
    assert admin_client.update_workspace(name, description="and changed").name == name
    assert admin_client.get_workspace(name).description == "and changed"
    assert {"default", "team-a", "team-b", name} <= {one.name for one in admin_client.list_workspaces()}
    with pytest.raises(MlflowException, match=f"there is a workspace '{name}' already"):
        admin_client.create_workspace(name)
    assert admin_client.get_workspace_store_uri() == mlflow.get_tracking_uri()


@pytest.mark.parametrize("mode", ["RESTRICT", "CASCADE", "SET_DEFAULT"])
def test_a_workspace_is_not_deleted_and_the_answer_says_what_to_do(
    admin_client: mlflow.MlflowClient, mode: str
) -> None:
    with pytest.raises(MlflowException, match=r"not supported by this service.*revoke its tokens"):
        admin_client.delete_workspace("team-a", mode=mode)


def test_a_member_sees_its_own_workspace_alone(team_a: Rest) -> None:
    assert team_a.get(WORKSPACES).body == {"workspaces": [{"name": "team-a"}]}
    assert team_a.get(f"{WORKSPACES}/team-a").body == {"workspace": {"name": "team-a"}}
    theirs, absent = (team_a.get(f"{WORKSPACES}/{name}").error for name in ("team-b", "team-z"))
    assert theirs == (404, "RESOURCE_DOES_NOT_EXIST", "no workspace 'team-b'")
    assert absent == (*theirs[:2], theirs[2].replace("team-b", "team-z"))
    for method, path in (("POST", WORKSPACES), ("PATCH", f"{WORKSPACES}/team-a"), ("DELETE", f"{WORKSPACES}/team-a")):
        assert team_a.send(method, path, {"name": "team-c", "description": "c"}).error[:2] == (403, "PERMISSION_DENIED")


# What both servers answer with the same status and code; the names are new in each.
CALLS: Sequence[tuple[str, str, Mapping[str, Any] | None]] = (
    ("GET", "", None),
    ("POST", "", {"name": "team-x", "description": "the team"}),
    ("POST", "", {"name": "team-x"}),
    ("POST", "", {"name": "default"}),
    ("POST", "", {"name": "a"}),
    ("POST", "", {"name": "a" * 64}),
    ("POST", "", {"name": "Team"}),
    ("POST", "", {"name": "-team"}),
    ("POST", "", {"name": "api"}),
    ("POST", "", {"name": ""}),
    ("POST", "", {"name": 1}),
    ("POST", "", {}),
    ("POST", "", {"name": "team-y", "description": 1}),
    ("POST", "", {"name": "team-y", "trace_archival_config": 1}),
    ("GET", "/team-x", None),
    ("GET", "/team-z", None),
    ("PATCH", "/team-x", {"description": "other"}),
    ("PATCH", "/team-x", {}),
    ("PATCH", "/team-z", {"description": "other"}),
    ("DELETE", "/team-z", None),
)


def test_the_api_of_workspaces_answers_as_stock_does(guarded: ServeProcess, tokens: Mapping[str, str]) -> None:
    salt = uuid.uuid4().hex[:8]
    with stock_server({"MLFLOW_ENABLE_WORKSPACES": "true"}) as url:
        for method, path, body in CALLS:
            answers = []
            for server, token in ((url, ""), (guarded.http_url, tokens["admin"])):
                with contextlib.closing(Rest(server, token=token)) as rest:
                    content = None if body is None else json.dumps(body).replace("team-x", f"team-{salt}").encode()
                    headers = {"content-type": "application/json"} if content else {}
                    where = WORKSPACES + path.replace("team-x", f"team-{salt}")
                    answers.append(rest.request(method, where, content, headers))
            assert shape(answers[0]) == shape(answers[1]), (method, path, body, answers)


def shape(answer: Answer) -> Any:
    """Status and code of an error; of a success, the status and which fields there are."""
    body = answer.body
    if answer.status >= 400:
        return answer.status, body["error_code"]
    return answer.status, sorted(body), [sorted(one) for one in body.values() if isinstance(one, dict)]


def test_without_tokens_there_are_no_workspaces_and_a_header_for_one_is_refused(ours: Rest) -> None:
    refused = ours.request("GET", "experiments/search?max_results=1", headers={"x-mlflow-workspace": "team-a"})
    assert refused.error[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    assert refused.error[2].startswith(DISABLED)
    assert (
        ours.request("GET", "experiments/search?max_results=1", headers={"x-mlflow-workspace": "default"}).status == 200
    )
    assert ours.get(WORKSPACES).error[:2] == (400, "FEATURE_DISABLED")


def test_a_client_chooses_among_the_workspaces_that_it_may_enter(admin_client: mlflow.MlflowClient) -> None:
    name = f"chosen {uuid.uuid4().hex}"
    mlflow.set_workspace("team-a")
    there = mlflow.create_experiment(name)
    assert mlflow.get_experiment(there).workspace == "team-a"
    mlflow.set_workspace("team-b")
    assert mlflow.get_experiment_by_name(name) is None
    assert mlflow.create_experiment(name) != there
    mlflow.set_workspace(None)
    assert mlflow.get_experiment("0").workspace == "default"
    with pytest.raises(MlflowException, match=f"No Experiment with id={there} exists"):
        mlflow.get_experiment(there)


def test_a_client_cannot_choose_the_workspace_of_others(
    guarded: ServeProcess, tokens: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", tokens["team-a"])
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team-b")
    mlflow.set_tracking_uri(guarded.http_url)
    with pytest.raises(RestException, match="no workspace 'team-b' for this token") as raised:
        mlflow.search_runs()
    assert raised.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_the_experiment_zero_is_the_default_one_of_the_workspace(team_a: Rest, team_b: Rest, admin: Rest) -> None:
    ids = [one.get("experiments/get", {"experiment_id": "0"}).body["experiment"] for one in (team_a, team_b, admin)]
    assert [one["name"] for one in ids] == ["Default"] * 3
    assert [one["workspace"] for one in ids] == ["team-a", "team-b", "default"]
    assert len({one["experiment_id"] for one in ids}) == 3
    assert ids[2]["experiment_id"] == "0"
    run = team_a.post("runs/create", {"experiment_id": "0"}).body["run"]["info"]
    assert run["experiment_id"] == ids[0]["experiment_id"]
    assert run["artifact_uri"].startswith(f"mlflow-artifacts:/{ids[0]['experiment_id']}/")
    for searcher, found in ((team_a, True), (team_b, False), (admin, False)):
        answer = searcher.post("runs/search", {"experiment_ids": ["0"], "max_results": 50_000}).body
        assert (run["run_id"] in [one["info"]["run_id"] for one in answer.get("runs", ())]) is found


def test_a_workspace_whose_default_experiment_was_renamed_has_no_experiment_zero(
    guarded: ServeProcess, admin: Rest
) -> None:
    make_workspace(guarded, "renamed")
    token = make_token(guarded, name="manager", role="manage", workspace="renamed")
    with contextlib.closing(Rest(guarded.http_url, token=token)) as rest:
        assert rest.post("experiments/update", {"experiment_id": "0", "new_name": "other"}).status == 200
        for answer in (
            rest.get("experiments/get", {"experiment_id": "0"}),
            rest.post("runs/create", {"experiment_id": "0"}),
        ):
            assert answer.error == (404, "RESOURCE_DOES_NOT_EXIST", "No Experiment with id=0 exists")
        assert rest.post("runs/search", {"experiment_ids": ["0"]}).body == {}
        rest.post("experiments/create", {"name": "Default"})
        assert rest.post("runs/create", {"experiment_id": "0"}).status == 200
