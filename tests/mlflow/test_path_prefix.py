"""MLflow's client and UI below a path of a host that others share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from tests.support.databases import short_directory
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

PREFIX = "/ml/runstream"


@pytest.fixture(scope="module")
def prefixed() -> Iterator[ServeProcess]:
    with short_directory() as directory, ServeProcess(directory, arguments=["--path-prefix", f"{PREFIX}/"]) as serve:
        yield serve


def get(url: str, path: str) -> tuple[int, str | None, bytes]:
    with Rest(url) as rest:
        answer = rest.get(path)
    return answer.status, answer.headers["location"], answer.content


@pytest.mark.parametrize("kept", [True, False], ids=["with the prefix", "without it"])
def test_runs_and_files_go_both_ways(prefixed: ServeProcess, tmp_path: Path, kept: bool) -> None:
    assert prefixed.http_url.endswith(PREFIX)
    client = mlflow.MlflowClient(prefixed.http_url if kept else prefixed.http_url.removesuffix(PREFIX))
    mlflow.set_tracking_uri(client.tracking_uri)
    run_id = client.create_run("0").info.run_id
    client.log_metric(run_id, "loss", 0.5, step=1)
    (tmp_path / "a.txt").write_text("file")
    client.log_artifact(run_id, str(tmp_path / "a.txt"), "below it")
    assert Path(client.download_artifacts(run_id, "below it/a.txt")).read_text() == "file"
    assert client.get_run(run_id).data.metrics == {"loss": 0.5}


def test_pages_and_probes_are_there_and_the_path_alone_leads_to_the_ui(prefixed: ServeProcess) -> None:
    for path in ("/", "/mlflow/", "/about", "/healthz", "/readyz", "/metrics", "/health"):
        assert get(prefixed.http_url, PREFIX + path)[0] == 200, path
        assert get(prefixed.http_url, path)[0] == 200, path
    assert get(prefixed.http_url, PREFIX)[:2] == (308, f"{PREFIX}/")
    for place in (f"{PREFIX}/", f"{PREFIX}/mlflow/"):
        page = get(prefixed.http_url, place)[2].decode()
        script = page.split(' src="')[1].split('"')[0]
        assert not script.startswith("/"), "links are relative"
        assert get(prefixed.http_url, place + script)[0] == 200
    assert get(prefixed.http_url, f"{PREFIX}/mlflow")[:2] == (308, "./mlflow/")
    assert prefixed.http_url in get(prefixed.http_url, f"{PREFIX}/about")[2].decode()
