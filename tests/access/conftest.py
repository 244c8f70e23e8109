"""A service that asks for tokens, with two workspaces, and callers of every kind."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest

from runstream_service.auth.token_text import new_token
from tests.support.access import AUTH, execute, make_token, make_workspace
from tests.support.databases import short_directory
from tests.support.requests_of_routes import Things, absent
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

A, B = "team-a", "team-b"


@dataclass(frozen=True, slots=True)
class Team:
    """Tokens of one workspace by role, and a caller over HTTP with the highest of them."""

    name: str
    tokens: dict[str, str]
    rest: Rest

    @property
    def token(self) -> str:
        """The token with the highest role."""
        return self.tokens["manage"]


@pytest.fixture(scope="session")
def serve() -> Iterator[ServeProcess]:
    with short_directory() as directory, ServeProcess(directory / "data", arguments=AUTH) as running:
        for name in (A, B):
            make_workspace(running, name)
        yield running
        # Whatever tests send, nothing is a bug of the service.
        assert [record for record in running.log_records if record["level"] in ("error", "critical")] == []


@pytest.fixture(scope="session")
def channel(serve: ServeProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(serve.grpc_address) as opened:
        yield opened


def team_of(serve: ServeProcess, name: str) -> Iterator[Team]:
    """New tokens of a workspace."""
    tokens = {role: make_token(serve, name=f"{role} of {name}", role=role, workspace=name) for role in ROLES}
    with contextlib.closing(Rest(serve.http_url, token=tokens["manage"])) as rest:
        yield Team(name, tokens, rest)


ROLES = ("read", "write", "manage")


@pytest.fixture(scope="session")
def a(serve: ServeProcess) -> Iterator[Team]:
    """The team that owns the objects."""
    yield from team_of(serve, A)


@pytest.fixture(scope="session")
def b(serve: ServeProcess) -> Iterator[Team]:
    """A team that must not see them, whatever it may do in its own workspace."""
    yield from team_of(serve, B)


@pytest.fixture(scope="session")
def admin(serve: ServeProcess) -> str:
    return make_token(serve, name="admin", role="admin")


@pytest.fixture(scope="session")
def invalid_tokens(serve: ServeProcess) -> dict[str, str]:
    """Invalid tokens, by what is wrong with them."""
    expired = make_token(serve, name="expired", role="manage", workspace=A)
    revoked = make_token(serve, name="revoked", role="manage", workspace=A)
    execute(serve, "UPDATE tokens SET expires_at = now() WHERE name = 'expired'")
    execute(serve, "UPDATE tokens SET revoked_at = now() WHERE name = 'revoked'")
    return {
        "none": "",
        "of another service": "ghp_0123456789",
        "mistyped": f"{expired[:-1]}!",
        "unknown": new_token(),
        "expired": expired,
        "revoked": revoked,
    }


def make_things(team: Team, *, text: str = "", names: str = "") -> Things:
    """One object of each kind in a team's workspace, with `text` in every field that may have any, and `names` in the
    names by which requests find them."""
    rest, name = team.rest, uuid.uuid4().hex
    pairs = [{"key": "tag", "value": f"v{text}"}]
    one = f"experiment {name}{names}"
    experiment_id = _made(rest, "experiments/create", name=one, tags=pairs)["experiment_id"]
    run = _made(rest, "runs/create", experiment_id=experiment_id, run_name=f"run{text}", user_id=f"u{text}", tags=pairs)
    run_id = run["run"]["info"]["run_id"]
    metrics = [{"key": key, "value": 1.5, "timestamp": 1, "step": 1} for key in ("loss", f"loss{text}")]
    _made(
        rest, "runs/log-batch", run_id=run_id, metrics=metrics, params=[{"key": "p", "value": f"v{text}"}], tags=pairs
    )
    dataset = dict.fromkeys(("name", "source_type", "source", "schema", "profile"), f"d{text}")
    datasets = [{"dataset": {**dataset, "digest": "1"}, "tags": pairs}]
    _made(rest, "runs/log-inputs", run_id=run_id, datasets=datasets)
    made = _made(
        rest,
        "logged-models",
        experiment_id=experiment_id,
        name=f"lm{text}",
        model_type=f"t{text}",
        source_run_id=run_id,
        params=pairs,
        tags=pairs,
    )
    model_id, model = made["model"]["info"]["model_id"], f"model {name}{names}"
    _made(rest, "registered-models/create", name=model, description=f"d{text}", tags=pairs)
    source = f"mlflow-artifacts:/{experiment_id}/{run_id}/artifacts"
    _made(rest, "model-versions/create", name=model, source=source, run_id=run_id, description=f"d{text}", tags=pairs)
    _made(rest, "registered-models/alias", name=model, alias="champion", version="1")
    for directory in (f"{run_id}/artifacts", f"models/{model_id}/artifacts"):
        path = f"/api/2.0/mlflow-artifacts/artifacts/{experiment_id}/{directory}/file"
        assert rest.request("PUT", path, f"content{text}".encode()).status == 200
    view = rest.post("/web/api/views", {"name": f"view {name}{names}", "state": f"/r/{run_id}?f={text}"})
    assert view.status == 200, view
    return replace(
        absent(),
        workspace=team.name,
        experiment_id=experiment_id,
        experiment=one,
        run_id=run_id,
        model=model,
        model_id=model_id,
        view_id=view.body["view"]["view_id"],
    )


def _made(rest: Rest, path: str, **request: object) -> Any:
    answer = rest.post(path, request)
    assert answer.status == 200, answer
    return answer.body
