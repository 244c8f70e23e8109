"""Changes over the page's API: runs and saved views."""

from __future__ import annotations

import contextlib
import uuid
from typing import Any

import pytest

from tests.support.access import execute
from tests.support.rest import Rest
from tests.web.support import Web


def test_name_tags_and_note_are_changed_together(web: Web) -> None:
    run_id = web.make_run(tags=[{"key": "old", "value": "1"}, {"key": "kept", "value": "1"}])
    run = web.post(
        f"runs/{run_id}/edit", name="better", set_tags={"a": "2"}, delete_tags=["old", "never there"], note="# Why"
    )["run"]
    assert (run["name"], run["tags"]["a"], run["tags"]["kept"]) == ("better", "2", "1")
    assert run["tags"]["mlflow.note.content"] == "# Why"
    assert "old" not in run["tags"]
    assert "mlflow.note.content" not in web.post(f"runs/{run_id}/edit", note="")["run"]["tags"]
    assert web.get(f"runs/{run_id}")["run"]["name"] == "better"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 501}, "name"),
        ({"name": "a\n"}, "name"),
        ({"set_tags": {"": "1"}}, "set_tags"),
        ({"set_tags": {"a": 1}}, "set_tags"),
        ({"set_tags": {"a": "x" * 8_001}}, "set_tags"),
        ({"set_tags": {"mlflow.runName": "x"}}, "set_tags"),
        ({"delete_tags": ["mlflow.runName"]}, "delete_tags"),
        ({"delete_tags": ["a\0"]}, "delete_tags"),
        ({"set_tags": {"a": "1"}, "delete_tags": ["a"]}, "delete_tags"),
        ({"note": "a", "set_tags": {"mlflow.note.content": "b"}}, "note"),
        ({"status": "finished"}, "status"),
    ],
)
def test_an_edit_with_a_wrong_field_changes_nothing(web: Web, wrong: dict[str, Any], field: str) -> None:
    run_id = web.make_run(run_name="before")
    before = web.get(f"runs/{run_id}")["run"]
    sent = {"name": "after", **wrong}
    assert web.refusal("POST", f"runs/{run_id}/edit", sent) == (400, "INVALID_FIELD", field)
    assert web.get(f"runs/{run_id}")["run"] == before


def test_runs_are_deleted_and_restored_all_or_none_and_the_audit_log_says_so(web: Web) -> None:
    run_ids = [web.make_run() for _ in range(2)]
    unknown = uuid.uuid4().hex
    assert web.refusal("POST", "runs/delete", {"run_ids": [run_ids[0], unknown]}) == (404, "RUN_NOT_FOUND", "run_ids")
    assert web.get(f"runs/{run_ids[0]}")["run"]["lifecycle"] == "active"
    assert web.post("runs/delete", run_ids=run_ids) == {}
    assert {web.get(f"runs/{run_id}")["run"]["lifecycle"] for run_id in run_ids} == {"deleted"}
    assert web.refusal("POST", f"runs/{run_ids[0]}/edit", {"name": "x"})[:2] == (400, "RUN_DELETED")
    assert web.post("runs/restore", run_ids=run_ids) == {}
    assert {web.get(f"runs/{run_id}")["run"]["lifecycle"] for run_id in run_ids} == {"active"}
    rows = execute(web.service, "SELECT action FROM audit_events WHERE subject = $1 ORDER BY event_id", run_ids[1])
    assert [row["action"] for row in rows] == ["run_deleted", "run_restored"]
    assert web.refusal("POST", "runs/delete", {"run_ids": []}) == (400, "INVALID_FIELD", "run_ids")


def test_runs_leave_the_table_of_one_experiment_and_are_in_that_of_the_other(web: Web) -> None:
    before, after = web.make_experiment(), web.make_experiment()
    run_ids = sorted(web.make_run(before) for _ in range(2))
    unknown = uuid.uuid4().hex

    def table(experiment_id: str) -> list[str]:
        return sorted(run["run_id"] for run in web.post("runs/search", experiment_ids=[experiment_id])["runs"])

    def refusal(**fields: Any) -> tuple[int, str, str]:
        return web.refusal("POST", "runs/move", {"run_ids": run_ids, "experiment_id": after, **fields})

    assert refusal(run_ids=[*run_ids, unknown]) == (404, "RUN_NOT_FOUND", "run_ids")
    assert refusal(experiment_id="123456789") == (404, "EXPERIMENT_NOT_FOUND", "experiment_id")
    assert refusal(experiment_id="x") == (400, "INVALID_FIELD", "experiment_id")
    assert table(before) == run_ids
    assert web.post("runs/move", run_ids=run_ids, experiment_id=after) == {}
    assert (table(before), table(after)) == ([], run_ids)
    assert web.get(f"runs/{run_ids[0]}")["run"]["experiment_id"] == after


def test_a_view_is_saved_listed_changed_and_deleted(web: Web) -> None:
    name = uuid.uuid4().hex
    view = web.post("views", name=name, state="/e/0?filter=a")["view"]
    assert (view["name"], view["state"], view["owner"]) == (name, "/e/0?filter=a", "anonymous")
    assert web.get(f"views/{view['view_id']}")["view"] == view
    changed = web.rest.send("PUT", f"views/{view['view_id']}", {"state": "/e/0?filter=b"}).body["view"]
    assert (changed["name"], changed["state"], changed["created_us"]) == (name, "/e/0?filter=b", view["created_us"])
    assert changed["updated_us"] > view["updated_us"]
    assert web.get("views")["views"][0] == changed
    assert web.refusal("POST", "views", {"name": name, "state": "/"}) == (400, "ALREADY_EXISTS", "name")
    assert web.rest.send("DELETE", f"views/{view['view_id']}").status == 200
    for method in ("GET", "PUT", "DELETE"):
        fields = {"name": "x"} if method == "PUT" else None
        assert web.refusal(method, f"views/{view['view_id']}", fields) == (404, "NOT_FOUND", "view_id")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": "", "state": "/"}, "name"),
        ({"name": "x" * 201, "state": "/"}, "name"),
        ({"state": "/"}, "name"),
        ({"name": "a"}, "state"),
        ({"name": "a", "state": "https://elsewhere"}, "state"),
        ({"name": "a", "state": "//elsewhere"}, "state"),
        ({"name": "a", "state": "/\\elsewhere"}, "state"),
        ({"name": "a", "state": "/" * 8_001}, "state"),
    ],
)
def test_a_view_with_a_wrong_field_is_not_saved(web: Web, wrong: dict[str, Any], field: str) -> None:
    assert web.refusal("POST", "views", wrong) == (400, "INVALID_FIELD", field)


def test_pages_of_others_change_nothing(web: Web) -> None:
    run_id = web.make_run(run_name="before")
    headers = {"content-type": "application/json", "origin": "https://evil.example"}
    answer = web.rest.request("POST", f"runs/{run_id}/edit", b'{"name": "after"}', headers)
    assert answer.error[:2] == (403, "FORBIDDEN")
    # What a browser sends to another host without asking it first.
    answer = web.rest.request("POST", f"runs/{run_id}/edit", b'{"name": "after"}', {"content-type": "text/plain"})
    assert answer.error[:2] == (400, "INVALID_FIELD")
    assert web.get(f"runs/{run_id}")["run"]["name"] == "before"
    with contextlib.closing(Rest(web.service.http_url)) as rest:
        assert rest.request("GET", "/web/api/views", headers={"host": "evil.example"}).error[:2] == (403, "FORBIDDEN")
