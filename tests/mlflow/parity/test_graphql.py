"""GraphQL: the queries in the UI's own files, answered as a stock server answers them; limits; bad input."""

from __future__ import annotations

import functools
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import mlflow
import pytest
from graphql import FieldNode, NameNode, SelectionSetNode, Visitor, parse, print_ast, visit

from runstream_bench.http_client import Answer
from tests.support.rest import Rest

Both = list[tuple[Rest, str, str]]

_QUERY = re.compile(r"\b(?:query|mutation) (\w+)\([^`{]*\{[^`]*")


@functools.cache
def queries_of_the_ui() -> dict[str, str]:
    """The GraphQL documents in the UI's JavaScript, by their names."""
    found = {}
    for chunk in Path(mlflow.__file__).parent.glob("server/js/build/static/js/*.js"):
        for match in _QUERY.finditer(chunk.read_text("utf-8")):
            found[match[1]] = match[0]
    return found


class _WithTypeNames(Visitor):
    def leave_selection_set(self, node: SelectionSetNode, *_: Any) -> SelectionSetNode:
        has_it = any(isinstance(one, FieldNode) and one.name.value == "__typename" for one in node.selections)
        named = () if has_it else (FieldNode(name=NameNode(value="__typename")),)
        return SelectionSetNode(selections=(*node.selections, *named))


def as_sent(query: str) -> str:
    """The UI's library asks for the type of everything."""
    return print_ast(visit(parse(query), _WithTypeNames()))


def ask(rest: Rest, query: str, variables: dict[str, Any] | None = None, **more: Any) -> Answer:
    return rest.send("POST", "/graphql", {"query": query, "variables": variables or {}, **more})


def errors_of(rest: Rest, query: str, variables: dict[str, Any] | None = None) -> list[str]:
    body = ask(rest, query, variables).body
    assert isinstance(body["errors"], list), body
    return list(body["errors"])


def test_the_ui_asks_nothing_that_is_not_compared_here() -> None:
    assert set(queries_of_the_ui()) == {
        "GetRun",
        "SearchRuns",
        "GetMetricHistoryBulkInterval",
        "MlflowGetExperimentQuery",
    }


# -- side by side with a stock server --------------------------------------------------------------------------------


def logged(rest: Rest) -> tuple[str, str]:
    """An experiment with one run that has something of everything; their ids."""
    name = f"graphql {uuid.uuid4().hex}"
    experiment_id = rest.post("experiments/create", {"name": name, "tags": [{"key": "e", "value": "1"}]}).body[
        "experiment_id"
    ]
    created = rest.post("runs/create", {"experiment_id": experiment_id, "run_name": "one", "start_time": 1_000})
    run_id = created.body["run"]["info"]["run_id"]
    metric = {"timestamp": 5_000, "step": 2**40}
    tags = [{"key": "t", "value": "2"}]
    rest.post(
        "runs/log-batch",
        {
            "run_id": run_id,
            "metrics": [
                {"key": "loss", "value": 0.25, **metric},
                {"key": "nan", "value": "NaN", **metric},
                {"key": "up", "value": "Infinity", **metric},
            ],
            "params": [{"key": "p", "value": "1"}],
            "tags": tags,
        },
    )
    dataset = {"name": "d", "digest": "1", "source_type": "local", "source": "{}"}
    rest.post("runs/log-inputs", {"run_id": run_id, "datasets": [{"dataset": dataset, "tags": tags}]})
    model = f"model-{uuid.uuid4().hex}"
    rest.post("registered-models/create", {"name": model})
    rest.post("model-versions/create", {"name": model, "source": "s3://b/x", "run_id": run_id})
    return experiment_id, run_id


@pytest.fixture(scope="module")
def both(server: str, stock: str) -> Iterator[Both]:
    """The two servers with the same data: caller, experiment, run."""
    rests = [Rest(server), Rest(stock)]
    yield [(rest, *logged(rest)) for rest in rests]
    for rest in rests:
        rest.close()


def compared(both: Both, name: str, variables: dict[str, Any]) -> Any:
    """The answer to a query of the UI, after it is found to be the same on both."""
    answers = []
    for rest, experiment_id, run_id in both:
        text = json.dumps(variables).replace("EXPERIMENT", experiment_id).replace("RUN", run_id)
        answer = ask(rest, as_sent(queries_of_the_ui()[name]), json.loads(text), operationName=name)
        assert answer.status == 200, answer.content
        answers.append(_without_ids(answer.content.decode(), experiment_id, run_id))
    assert answers[0] == answers[1]
    return answers[0]


def _without_ids(text: str, experiment_id: str, run_id: str) -> Any:
    text = text.replace(run_id, "RUN")
    text = re.sub(rf'"(experimentId|artifactLocation|artifactUri)":\s*"([^"]*)\b{experiment_id}\b', r'"\1":"\2N', text)
    text = re.sub(r"(graphql |model-)[0-9a-f]{32}", r"\1X", text)
    text = re.sub(r'("(?:creation|lastUpdate)(?:Time|Timestamp)":\s*)"\d{13}"', r'\1"TIME"', text)
    return _sorted(json.loads(text))


def _sorted(value: Any) -> Any:
    """Metrics, params and tags have no order."""
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted(map(_sorted, value), key=lambda item: json.dumps(item, sort_keys=True))
    return value


def test_the_page_of_an_experiment_gets_what_a_stock_server_gives(both: Both) -> None:
    answer = compared(both, "MlflowGetExperimentQuery", {"input": {"experimentId": "EXPERIMENT"}})
    assert answer["data"]["mlflowGetExperiment"]["experiment"]["tags"][0]["key"] == "e"


def test_the_page_of_a_run_gets_what_a_stock_server_gives(both: Both) -> None:
    answer = compared(both, "GetRun", {"data": {"runId": "RUN"}})
    run = answer["data"]["mlflowGetRun"]["run"]
    metrics = {metric["key"]: (metric["value"], metric["step"]) for metric in run["data"]["metrics"]}
    assert metrics == {
        "loss": (0.25, str(2**40)),
        "nan": (None, str(2**40)),
        "up": (1.7976931348623157e308, str(2**40)),
    }
    assert (run["__typename"], run["modelVersions"][0]["version"]) == ("MlflowRunExtension", "1")
    assert run["experiment"]["experimentId"] == "N"


def test_a_search_for_runs_gets_what_a_stock_server_gives(both: Both) -> None:
    asked = {"experimentIds": ["EXPERIMENT"], "filter": "metrics.loss < 1", "maxResults": 5}
    answer = compared(both, "SearchRuns", {"data": asked})
    (run,) = answer["data"]["mlflowSearchRuns"]["runs"]
    assert run["modelVersions"][0]["version"] == "1"
    compared(both, "SearchRuns", {"data": {"experimentIds": ["EXPERIMENT"], "filter": "metrics.loss > 1"}})


def test_a_search_for_deleted_runs_is_answered_where_a_stock_server_fails(ours: Rest, experiment_id: str) -> None:
    run = ours.post("runs/create", {"experiment_id": experiment_id}).body["run"]["info"]
    ours.post("runs/delete", {"run_id": run["run_id"]})
    asked = {"experimentIds": [experiment_id], "runViewType": "DELETED_ONLY"}
    answer = ask(ours, queries_of_the_ui()["SearchRuns"], {"data": asked}).body
    assert [found["info"]["runUuid"] for found in answer["data"]["mlflowSearchRuns"]["runs"]] == [run["run_id"]]


def test_a_chart_gets_what_a_stock_server_gives(both: Both) -> None:
    variables = {"data": {"runIds": ["RUN"], "metricKey": "loss", "maxResults": 320}}
    answer = compared(both, "GetMetricHistoryBulkInterval", variables)
    assert answer["data"]["mlflowGetMetricHistoryBulkInterval"]["metrics"][0]["step"] == str(2**40)
    compared(both, "GetMetricHistoryBulkInterval", {"data": {"runIds": ["RUN"], "metricKey": "unknown"}})


def test_what_is_not_there_is_an_error_in_the_answer(both: Both) -> None:
    unknown = "0" * 32
    answer = compared(both, "GetRun", {"data": {"runId": unknown}})
    assert answer["data"]["mlflowGetRun"] is None
    assert answer["errors"] == [f"Run with id={unknown} not found"]
    compared(both, "MlflowGetExperimentQuery", {"input": {"experimentId": "123456789"}})


def test_aliases_and_fragments_are_answered(ours: Rest, experiment_id: str) -> None:
    query = """
      query Q($id: String) {
        one: mlflowGetExperiment(input: {experimentId: $id}) { ...E }
        two: mlflowGetExperiment(input: {experimentId: "0"}) { experiment { ... on MlflowExperiment { name } } }
      }
      fragment E on MlflowGetExperimentResponse { experiment { id: experimentId } }
    """
    assert ask(ours, query, {"id": experiment_id}).body == {
        "data": {"one": {"experiment": {"id": experiment_id}}, "two": {"experiment": {"name": "Default"}}},
        "errors": None,
    }


def test_a_query_may_come_as_a_get(ours: Rest, experiment_id: str) -> None:
    asked = {
        "query": queries_of_the_ui()["MlflowGetExperimentQuery"],
        "variables": json.dumps({"input": {"experimentId": experiment_id}}),
    }
    answer = ours.get("/graphql?" + urlencode(asked))
    assert answer.body["data"]["mlflowGetExperiment"]["experiment"]["experimentId"] == experiment_id


# -- too much, and bad input -----------------------------------------------------------------------------------------

_DEEP = "{mlflowGetRun{run" + "{experiment" * 9 + "{name}" + "}" * 11
_NAMES = 'mlflowGetExperiment(input: {experimentId: "0"}) { experiment { '


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("{" + "__typename " * 11 + "}", "GraphQL queries should have at most 10 root fields, got 11 root fields."),
        (
            "{" + _NAMES + " ".join(f"n{number}: name" for number in range(11)) + "}}}",
            "GraphQL queries should have at most 10 aliases, got 11 aliases.",
        ),
        (_DEEP, "Query exceeds maximum depth of 10"),
        ("{" + _NAMES + "name " * 1_000 + "}}}", "Query exceeds maximum total selections of 1000"),
        ("{a" * 2_000, "Syntax Error: Document is nested too deeply. Parsing aborted."),
        ("{" + "a " * 6_000 + "}", "Syntax Error: Document contains more than 5000 tokens. Parsing aborted."),
        ("{...A} fragment A on Query {...A __typename}", "Cannot spread fragment 'A' within itself."),
        ("{nothing}", "Cannot query field 'nothing' on type 'Query'."),
        (
            "query A {__typename} query B {__typename}",
            "Must provide operation name if query contains multiple operations.",
        ),
        ("{", "Syntax Error: Expected Name, found <EOF>."),
        ("", "Syntax Error: Unexpected <EOF>."),
        ("{mlflowGetRun(input: {runId: 5}) {run {info {runId}}}}", "String cannot represent a non string value: 5"),
        (
            "{mlflowGetRun {run {info {runId}}}}",
            "Missing value for required parameter 'run_id'. See the API docs for more information about request "
            "parameters.",
        ),
    ],
)
def test_a_query_that_cannot_be_answered_says_why(ours: Rest, query: str, message: str) -> None:
    assert errors_of(ours, query) == [message]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        {},
        {"query": 5},
        {"query": "{__typename}", "variables": []},
        {"query": "{__typename}", "operationName": 5},
        {"query": "{" + " " * 200_000 + "__typename}"},
    ],
)
def test_what_is_no_graphql_request_is_refused(ours: Rest, body: Any) -> None:
    answer = ours.send("POST", "/graphql", body)
    assert answer.status == 400
    assert answer.body["error_code"] in ("BAD_REQUEST", "INVALID_PARAMETER_VALUE")


def test_a_document_of_many_fragments_is_counted_and_not_multiplied_out(ours: Rest) -> None:
    """Each fragment twice in the one before: 2 to the 60th selections for who walks through all."""
    parts = [
        f"fragment F{number} on MlflowExperiment {{ a: name ...F{number + 1} b: name ...F{number + 1} }}"
        for number in range(60)
    ]
    query = "{" + _NAMES + "...F0 }}} " + " ".join(parts) + " fragment F60 on MlflowExperiment { name }"
    assert errors_of(ours, query) == ["GraphQL queries should have at most 10 aliases, got 120 aliases."]
