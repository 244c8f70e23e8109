"""The model registry with many callers at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from runstream_bench.http_client import Answer
from tests.mlflow.registry import MODELS, SOURCE, TAKEN, VERSIONS, call, new_version
from tests.support.rest import Rest

Wanted = tuple[str, str, dict[str, Any]]


def at_once(server: str, calls: list[Wanted]) -> list[Answer]:
    """Sends each request over a connection of its own."""

    def one(wanted: Wanted) -> Answer:
        rest = Rest(server)
        try:
            return call(rest, *wanted)
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
