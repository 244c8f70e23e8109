"""Artifacts through MLflow's own client, and requests that it would not send."""

from __future__ import annotations

import http.client
import os
import socket
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from tests.support.rest import Rest
from tests.support.serve import ServeProcess

PROXY = "/api/2.0/mlflow-artifacts/artifacts/"


@pytest.fixture
def directory(experiment_id: str) -> str:
    """A directory of the store that no other test uses."""
    return f"{experiment_id}/{uuid.uuid4().hex}"


def stored(service: ServeProcess) -> Path:
    """Where the service keeps artifacts."""
    return service.data_dir / "artifacts"


def files_below(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


# -- with MLflow's client ----------------------------------------------------------------------------------------------


def test_files_logged_with_the_fluent_functions_come_back(client: mlflow.MlflowClient, tmp_path: Path) -> None:
    np, plt = pytest.importorskip("numpy"), pytest.importorskip("matplotlib.pyplot")
    (tmp_path / "some" / "deep").mkdir(parents=True)
    (tmp_path / "some" / "one.txt").write_text("one")
    (tmp_path / "some" / "deep" / "two words ü.bin").write_bytes(b"\x00two")
    (tmp_path / "empty.txt").touch()
    with mlflow.start_run() as run:
        mlflow.log_artifact(str(tmp_path / "some" / "one.txt"))
        mlflow.log_artifact(str(tmp_path / "empty.txt"), artifact_path="below/it")
        mlflow.log_artifacts(str(tmp_path / "some"), artifact_path="all")
        mlflow.log_text("text", "said.txt")
        mlflow.log_dict({"a": 1}, "dict.json")
        figure = plt.figure()
        mlflow.log_figure(figure, "plots/figure.png")
        plt.close(figure)
        mlflow.log_image(np.zeros((4, 4, 3), dtype=np.uint8), "image.png")
        mlflow.log_table({"x": [1, 2], "y": ["a", "b"]}, "table.json")
        mlflow.log_table({"x": [3], "y": ["c"]}, "table.json")
    run_id = run.info.run_id
    names = {file.path for file in client.list_artifacts(run_id)}
    assert names == {"one.txt", "below", "all", "said.txt", "dict.json", "plots", "image.png", "table.json"}
    assert [(file.path, file.is_dir, file.file_size) for file in client.list_artifacts(run_id, "all")] == [
        ("all/deep", True, None),
        ("all/one.txt", False, 3),
    ]
    assert [file.path for file in client.list_artifacts(run_id, "all/deep")] == ["all/deep/two words ü.bin"]
    assert client.list_artifacts(run_id, "one.txt") == []
    assert client.list_artifacts(run_id, "nowhere") == []
    (tmp_path / "down").mkdir()
    everything = Path(mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=str(tmp_path / "down")))
    assert (everything / "all/deep/two words ü.bin").read_bytes() == b"\x00two"
    assert (everything / "below/it/empty.txt").read_bytes() == b""
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/said.txt") == "text"
    assert mlflow.artifacts.load_dict(f"runs:/{run_id}/dict.json") == {"a": 1}
    assert mlflow.artifacts.load_image(f"runs:/{run_id}/image.png").size == (4, 4)
    assert mlflow.artifacts.load_dict(f"runs:/{run_id}/table.json")["data"] == [[1, "a"], [2, "b"], [3, "c"]]
    assert Path(client.download_artifacts(run_id, "one.txt", str(tmp_path))).read_text() == "one"


def test_deleted_artifacts_are_gone_and_deleting_again_is_fine(client: mlflow.MlflowClient) -> None:
    run_id = client.create_run("0").info.run_id
    client.log_text(run_id, "a", "kept.txt")
    client.log_text(run_id, "b", "dropped/deep/b.txt")
    repository = get_artifact_repository(client.get_run(run_id).info.artifact_uri, client.tracking_uri)
    for _ in range(2):
        repository.delete_artifacts("dropped")
    assert [file.path for file in client.list_artifacts(run_id)] == ["kept.txt"]
    with pytest.raises(MlflowException, match="Failed to download artifacts"):
        mlflow.artifacts.load_text(f"runs:/{run_id}/dropped/deep/b.txt")


def test_artifacts_of_another_store_are_for_the_client_to_read(
    ours: Rest, client: mlflow.MlflowClient, tmp_path: Path
) -> None:
    location = (tmp_path / "elsewhere").as_uri()
    run_id = client.create_run(client.create_experiment(uuid.uuid4().hex, location)).info.run_id
    client.log_text(run_id, "a", "a.txt")
    assert [file.path for file in client.list_artifacts(run_id)] == ["a.txt"]
    for answer in (
        ours.get("artifacts/list", {"run_id": run_id}),
        ours.get("/get-artifact", {"run_uuid": run_id, "path": "a.txt"}),
    ):
        assert answer.error[:2] == (400, "INVALID_PARAMETER_VALUE")
        assert "not in this server's store but at a 'file' location" in answer.error[2]


# -- what the UI asks for ----------------------------------------------------------------------------------------------


def test_the_ui_lists_shows_and_uploads_files_of_a_run(ours: Rest, client: mlflow.MlflowClient) -> None:
    run = client.create_run("0")
    run_id = run.info.run_id
    body = ours.get("artifacts/list", {"run_uuid": run_id}).body
    assert body == {"root_uri": run.info.artifact_uri}
    client.log_text(run_id, "x", "images/ü.txt")
    client.log_text(run_id, "x: 1", "MLmodel")
    body = ours.get("artifacts/list", {"run_uuid": run_id}).body
    assert body["files"] == [{"path": "MLmodel", "is_dir": False, "file_size": 4}, {"path": "images", "is_dir": True}]
    body = ours.get("artifacts/list", {"run_id": run_id, "path": "images"}).body
    assert body["files"] == [{"path": "images/ü.txt", "is_dir": False, "file_size": 1}]
    shown = ours.get("/get-artifact", {"path": "images/ü.txt", "run_uuid": run_id})
    assert (shown.status, shown.content) == (200, b"x")
    assert shown.headers["content-disposition"] == "attachment; filename=u.txt; filename*=UTF-8''%C3%BC.txt"
    assert ours.get("/get-artifact", {"path": "MLmodel", "run_id": run_id}).headers["content-type"] == "text/plain"

    upload = "/ajax-api/2.0/mlflow/upload-artifact?run_uuid={}&path={}"
    assert ours.request("POST", upload.format(run_id, "notes/a.md"), b"note").status == 200
    assert ours.get("/get-artifact", {"path": "notes/a.md", "run_uuid": run_id}).content == b"note"
    for path, content, words in (
        (upload.format("", "a"), b"x", "Request must specify run_id or run_uuid."),
        (upload.format(run_id, ""), b"x", "Request must specify path."),
        (upload.format(run_id, "a"), b"", "Request must specify data."),
        (upload.format(run_id, "../a"), b"x", "Invalid path"),
        (upload.format(run_id, "a"), bytes((10 << 20) + 1), "Artifact size is too large. Max size is 10MB."),
    ):
        assert ours.request("POST", path, content).error == (400, "INVALID_PARAMETER_VALUE", words)
    assert ours.request("POST", upload.format("f" * 32, "a"), b"x").error[:2] == (404, "RESOURCE_DOES_NOT_EXIST")


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_names_of_all_kinds_come_back_as_they_were_given(ours: Rest, directory: str) -> None:
    names = ["name with spaces/ü%3F%25.txt", "a:b", ".hidden", "~", "日本.bin", "q" * 250, "100%25", "a+b&c=d"]
    for name in names:
        assert ours.request("PUT", f"{PROXY}{directory}/{name}", name.encode()).status == 200
        assert ours.get(f"{PROXY}{directory}/{name}").content == name.encode()
    listed = ours.get(PROXY.rstrip("/"), {"path": directory}).body["files"]
    assert {file["path"] for file in listed} == {
        "name with spaces", "a:b", ".hidden", "~", "日本.bin", "q" * 250, "100%", "a+b&c=d",
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "../a", "a/../../b", "%2e%2e/a", "%252e%252e/a", "a/%2E%2E/b", "..%2fa", "..%5ca", "a%5c..%5cb", "/etc/passwd",
        "%2fetc/passwd", "C:/a", "file:///etc/passwd", "a%00b", "a%23b", "q" * 251, "a/" * 480 + "a", "", ".", "a/",
        "a?b",
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_or_nowhere_are_refused(ours: Rest, service: ServeProcess, name: str) -> None:
    before = files_below(stored(service))
    answer = ours.request("PUT", PROXY + name, b"x")
    assert answer.error[:2] == (400, "INVALID_PARAMETER_VALUE")
    assert answer.error[2].startswith("Invalid path")
    assert files_below(stored(service)) == before
    if name not in ("a/", "a?b", ""):
        assert ours.get(PROXY + name).status == (404 if len(name) > 250 else 400)
    if name != "a?b":
        assert ours.send("DELETE", PROXY + name).status == (200 if name == "a/" else 400)


def test_links_in_the_directory_do_not_lead_out(
    ours: Rest, service: ServeProcess, directory: str, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    ours.request("PUT", f"{PROXY}{directory}/inside.txt", b"x")
    (stored(service) / directory / "out").symlink_to(tmp_path)
    (stored(service) / directory / "file").symlink_to(tmp_path / "secret.txt")
    (stored(service) / directory / "near").symlink_to("inside.txt")
    for name in ("out/secret.txt", "file"):
        assert ours.get(f"{PROXY}{directory}/{name}").error[0] == 400
        assert ours.request("PUT", f"{PROXY}{directory}/{name}", b"y").error[0] == 400
    assert ours.get(f"{PROXY}{directory}/near").content == b"x"
    assert ours.get(PROXY.rstrip("/"), {"path": f"{directory}/out"}).error[0] == 400
    listed = ours.get(PROXY.rstrip("/"), {"path": directory}).body["files"]
    assert [file["path"] for file in listed] == ["inside.txt", "near"]
    assert ours.send("DELETE", f"{PROXY}{directory}").body == {}
    assert (tmp_path / "secret.txt").read_text() == "secret"
    assert not (stored(service) / directory).exists()


def test_missing_files_and_directories_are_told_apart(ours: Rest, directory: str) -> None:
    ours.request("PUT", f"{PROXY}{directory}/deep/a.txt", b"x")
    assert ours.get(f"{PROXY}{directory}/b.txt").error == (
        404, "RESOURCE_DOES_NOT_EXIST", f"No such artifact: '{directory}/b.txt'",
    )  # fmt: skip
    assert ours.get(f"{PROXY}{directory}/deep").error == (
        400, "INVALID_PARAMETER_VALUE", f"Artifact path refers to a directory, not a file: '{directory}/deep'",
    )  # fmt: skip
    for taken in (f"{directory}/deep", f"{directory}/deep/a.txt/b"):
        assert ours.request("PUT", PROXY + taken, b"x").error[:2] == (400, "INVALID_PARAMETER_VALUE")
    for path in (f"{directory}/deep/a.txt", f"{directory}/nowhere"):
        assert ours.get(PROXY.rstrip("/"), {"path": path}).body == {}


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 500 + "b"])
def test_under_a_name_that_is_too_long_there_is_nothing(
    ours: Rest, client: mlflow.MlflowClient, directory: str, name: str
) -> None:
    run_id = client.create_run("0").info.run_id
    model_id = client.create_logged_model("0").model_id
    root_uri = client.get_run(run_id).info.artifact_uri
    assert ours.get(PROXY.rstrip("/"), {"path": f"{directory}/{name}"}).body == {}
    assert ours.get("/api/2.0/mlflow/artifacts/list", {"run_id": run_id, "path": name}).body == {"root_uri": root_uri}
    directories = f"/api/2.0/mlflow/logged-models/{model_id}/artifacts/directories"
    assert "files" not in ours.get(directories, {"artifact_directory_path": name}).body
    files = f"/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files?artifact_file_path={name}"
    for path in (f"{PROXY}{directory}/{name}", f"/get-artifact?run_id={run_id}&path={name}", files):
        assert ours.get(path).error[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    assert ours.request("PUT", f"{PROXY}{directory}/{name}", b"x").error[:2] == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    ("header", "status", "part", "where"),
    [
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=4-2", 416, None, "bytes */10"),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
    ],
)
def test_ranges(ours: Rest, directory: str, header: str, status: int, part: bytes | None, where: str | None) -> None:
    path = f"{PROXY}{directory}/ten.txt"
    ours.request("PUT", path, b"0123456789")
    answer = ours.request("GET", path, headers={"Range": header})
    assert (answer.status, answer.headers.get("content-range")) == (status, where)
    if part is not None:
        assert (answer.content, answer.headers["content-length"]) == (part, str(len(part)))


def test_a_range_of_another_version_is_answered_with_the_whole_file(ours: Rest, directory: str) -> None:
    path = f"{PROXY}{directory}/a.txt"
    ours.request("PUT", path, b"0123456789")
    head = ours.request("HEAD", path)
    assert (head.status, head.content, head.headers["content-length"]) == (200, b"", "10")
    assert head.headers["x-content-type-options"] == "nosniff"
    etag = head.headers["etag"]
    headers = {"Range": "bytes=0-1", "If-Range": etag}
    assert ours.request("GET", path, headers=headers).content == b"01"
    ours.request("PUT", path, b"abcdefghijk")
    assert ours.request("GET", path, headers=headers).content == b"abcdefghijk"


def test_multipart_and_presigned_are_declined_as_clients_expect(ours: Rest) -> None:
    for action in ("create", "complete", "abort"):
        answer = ours.post(f"/api/2.0/mlflow-artifacts/mpu/{action}/1/a", {"path": "a", "num_parts": 2})
        assert answer.error == (
            501, "NOT_IMPLEMENTED", "Multipart upload is not supported for the current artifact repository",
        )  # fmt: skip
    assert ours.get("/api/2.0/mlflow-artifacts/presigned/1/a").error[:2] == (501, "NOT_IMPLEMENTED")


@pytest.mark.parametrize("sent_bytes", [1_000, 12 << 20], ids=["small", "several-parts"])
def test_an_upload_that_is_cut_leaves_nothing(
    ours: Rest, service: ServeProcess, directory: str, sent_bytes: int
) -> None:
    ours.request("PUT", f"{PROXY}{directory}/kept.bin", b"old")
    for name in ("kept.bin", "new.bin"):
        connection = http.client.HTTPConnection(urlsplit(ours.url).netloc, timeout=30)
        connection.putrequest("PUT", f"{PROXY}{directory}/{name}")
        connection.putheader("Content-Length", str(64 << 20))
        connection.endheaders()
        connection.send(os.urandom(sent_bytes))
        assert connection.sock is not None
        connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()
    listed = ours.get(PROXY.rstrip("/"), {"path": directory}).body["files"]
    assert [file["path"] for file in listed] == ["kept.bin"]
    assert ours.get(f"{PROXY}{directory}/kept.bin").content == b"old"
    wait_for_files(stored(service) / directory, ["kept.bin"])
    assert "http_failed" not in service.actions()


def test_many_slow_uploads_do_not_hold_up_a_fast_one(ours: Rest, directory: str) -> None:
    slow = []
    try:
        for number in range(20):
            connection = http.client.HTTPConnection(urlsplit(ours.url).netloc, timeout=30)
            slow.append(connection)
            connection.putrequest("PUT", f"{PROXY}{directory}/slow-{number}.bin")
            connection.putheader("Content-Length", "2000")
            connection.endheaders()
            connection.send(bytes(1_000))
        assert ours.request("PUT", f"{PROXY}{directory}/fast.bin", b"fast").status == 200
        for connection in slow:
            connection.send(bytes(1_000))
        assert [connection.getresponse().status for connection in slow] == [200] * len(slow)
    finally:
        for connection in slow:
            connection.close()


def wait_for_files(directory: Path, expected: list[str]) -> None:
    """What was staged is taken away when the service notices the cut."""
    give_up = time.monotonic() + 10
    while files_below(directory) != expected:
        assert time.monotonic() < give_up, files_below(directory)
        time.sleep(0.02)


def test_big_files_stream_both_ways_with_flat_memory(ours: Rest, service: ServeProcess, directory: str) -> None:
    size = 96 << 20
    path = f"{PROXY}{directory}/big.bin"
    block = os.urandom(1 << 20)
    ours.request("PUT", path, block)
    before = service.memory_bytes
    connection = http.client.HTTPConnection(urlsplit(ours.url).netloc, timeout=60)
    connection.request("PUT", path, (block for _ in range(size >> 20)), {"Content-Length": str(size)})
    assert connection.getresponse().read() == b""
    uploaded = service.memory_bytes
    connection.request("GET", path)
    answer, got = connection.getresponse(), 0
    while chunk := answer.read(1 << 20):
        assert chunk == block
        got += len(chunk)
    connection.close()
    assert got == size
    assert max(uploaded, service.memory_bytes) - before < 64 << 20
