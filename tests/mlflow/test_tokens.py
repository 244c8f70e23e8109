"""MLflow's clients with tokens: real scripts that are configured by their environment alone, and tokens that end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import RestException
from prometheus_client.parser import text_string_to_metric_families

from tests.support import preloaded
from tests.support.access import as_operator, everything_stored, make_token, make_workspace
from tests.support.polling import until_now
from tests.support.serve import ServeProcess
from tests.support.stock import SCRIPT_MODULES, mlflow_environment

SCRIPT = Path(__file__).with_name("workspace_script.py")


def tracking_uri(serve: ServeProcess, workspace: str, expires: str = "1h") -> str:
    """A short-lived tracking URI, as an operator makes one."""
    options = ("--workspace", workspace, "--expires", expires, "--http", serve.http_url)
    return as_operator(serve, "tracking-uri", *options).strip()


def with_token(serve: ServeProcess, workspace: str) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_URI": serve.http_url,
        "MLFLOW_TRACKING_TOKEN": make_token(serve, name="token", workspace=workspace),
    }


def with_password(serve: ServeProcess, workspace: str) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_URI": serve.http_url,
        "MLFLOW_TRACKING_USERNAME": "whoever",
        "MLFLOW_TRACKING_PASSWORD": make_token(serve, name="password", workspace=workspace),
    }


def with_short_lived_uri(serve: ServeProcess, workspace: str) -> dict[str, str]:
    return {"MLFLOW_TRACKING_URI": tracking_uri(serve, workspace)}


def with_chosen_workspace(serve: ServeProcess, workspace: str) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_URI": serve.http_url,
        "MLFLOW_TRACKING_TOKEN": make_token(serve, name=f"admin of {workspace}", role="admin"),
        "MLFLOW_WORKSPACE": workspace,
    }


WAYS = (with_token, with_password, with_short_lived_uri, with_chosen_workspace)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_script_needs_nothing_but_its_environment(
    guarded: ServeProcess, way: Callable[[ServeProcess, str], dict[str, str]], tmp_path: Path
) -> None:
    workspace = way.__name__.replace("_", "-")
    make_workspace(guarded, workspace)
    signing_in = way(guarded, workspace)
    secret = signing_in.get("MLFLOW_TRACKING_TOKEN", signing_in.get("MLFLOW_TRACKING_PASSWORD", ""))
    secret = secret or signing_in["MLFLOW_TRACKING_URI"].partition("token:")[2].partition("@")[0]
    done = preloaded.run(
        [sys.executable, str(SCRIPT)],
        mlflow_environment({**signing_in, "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}),
        modules=SCRIPT_MODULES,
        cwd=tmp_path,
        timeout_s=110,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    made = json.loads(done.stdout.splitlines()[-1])
    assert (made["workspace"], made["name"]) == (workspace, "Default")
    assert made["experiment_id"] != "0"
    assert secret not in done.stdout + done.stderr
    assert secret.startswith("rst_")
    assert secret not in guarded.stderr
    stored = everything_stored(guarded)
    assert made["run_id"] in stored
    assert "the report" in stored
    assert secret not in stored


def refused_in_time(call: Callable[[], object], *, within_s: float = 30) -> RestException:
    """The refusal of a call whose token is about to end; it works before."""
    refusals: list[RestException] = []

    def is_refused() -> bool:
        try:
            call()
        except RestException as refusal:
            refusals.append(refusal)
        return bool(refusals)

    until_now(is_refused, timeout_s=within_s)
    return refusals[0]


def test_a_tracking_uri_ends_on_time_says_why_and_another_one_goes_on(guarded: ServeProcess) -> None:
    uri = tracking_uri(guarded, "team-a", expires="2s")
    client = mlflow.MlflowClient(uri)
    run_id = client.create_run("0").info.run_id
    begun = time.monotonic()
    refusal = refused_in_time(lambda: client.log_metric(run_id, "loss", 0.5))
    assert time.monotonic() - begun < 10
    assert refusal.error_code == "UNAUTHENTICATED"
    assert refusal.get_http_status_code() == 401
    assert "the token 'tracking URI of operator" in str(refusal)
    assert "expired on" in str(refusal)
    assert "ask for a new one" in str(refusal)
    assert uri.partition("token:")[2].partition("@")[0] not in str(refusal)
    another = mlflow.MlflowClient(tracking_uri(guarded, "team-a"))
    another.log_metric(run_id, "loss", 0.25)
    assert another.get_run(run_id).data.metrics["loss"] == 0.25


@pytest.fixture
def expired(guarded: ServeProcess, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run of team-a, and MLflow with a token that has expired since."""
    token = make_token(guarded, name=f"short {time.time_ns()}", workspace="team-a", expires_in_s=1)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "7")
    mlflow.set_tracking_uri(guarded.http_url)
    client = mlflow.MlflowClient()
    run_id: str = client.create_run("0").info.run_id
    refused_in_time(lambda: client.get_run(run_id))
    return run_id


def test_with_an_expired_token_every_call_raises_at_once_and_is_not_repeated(
    guarded: ServeProcess, expired: str, tmp_path: Path
) -> None:
    client = mlflow.MlflowClient()
    file = tmp_path / "file.txt"
    file.write_text("a")
    calls: tuple[Callable[[], object], ...] = (
        lambda: client.log_metric(expired, "loss", 0.5),
        lambda: client.log_batch(expired, params=[mlflow.entities.Param("a", "b")]),
        lambda: client.log_metric(expired, "loss", 0.5, synchronous=False).wait(),
        lambda: client.set_terminated(expired),
        lambda: client.search_runs(["0"]),
        lambda: client.create_registered_model("iris"),
        lambda: client.log_artifact(expired, str(file)),
        lambda: mlflow.start_run(),
    )
    before = answers_by_status(guarded)
    for call in calls:
        with pytest.raises(mlflow.MlflowException, match=r"the token 'short \d+' expired on"):
            call()
    after = answers_by_status(guarded)
    assert after["401"] - before["401"] == len(calls)
    assert {status for status in after if status >= "500"} == set()


def answers_by_status(serve: ServeProcess) -> dict[str, float]:
    """How many answers there were, by HTTP status."""
    counts: dict[str, float] = {}
    for family in text_string_to_metric_families(serve.get("/metrics")[1]):
        for sample in family.samples:
            if sample.name == "runstream_http_requests_total":
                counts[sample.labels["status"]] = counts.get(sample.labels["status"], 0) + sample.value
    return counts
