"""Executes GraphQL queries of MLflow's UI.

graphql-core, the reference implementation in pure Python, parses and checks them. This module adds the schema, and
takes each field from the field with the same name in the response of the REST route.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLError,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    OperationDefinitionNode,
    SelectionSetNode,
    build_schema,
    execute,
    parse,
    validate,
)

from runstream_service.http.json_responses import json_response
from runstream_service.http.mlflow_errors import mlflow_error_of
from runstream_service.mlflow.request import snake

if TYPE_CHECKING:
    from starlette.responses import Response

    from runstream_service.mlflow.graphql import QueryContext

# MLflow's limits; the longest query of the UI has about 50 fields.
MAX_ROOT_FIELDS = 10
MAX_ALIASES = 10
MAX_DEPTH = 10
MAX_SELECTIONS = 1_000
# Most fields of one object. Each is compared with all others: 1,000 took more than a second.
MAX_FIELDS = 200
MAX_TOKENS = 5_000
# The UI repeats the same few queries. Longer ones are not from the UI, and are not cached, since they take memory.
_CACHED_CHARACTERS = 8_000

# Calls the REST route of a root field, with the context of the request, the name of the field, and its input.
Call = Callable[["QueryContext", str, dict[str, Any]], Coroutine[Any, Any, Any]]

# The values of unset fields are those of protobuf, which a stock server uses.
_UNSET: dict[str, Any] = {"String": "", "LongString": 0, "Float": 0.0, "Boolean": False, "Int": 0}


def _read_schema() -> GraphQLSchema:
    schema = build_schema((resources.files(__package__) / "schema.graphql").read_text("utf-8"))
    long_string: Any = schema.type_map["LongString"]
    long_string.serialize = str
    long_string.parse_value = int
    return schema


SCHEMA = _read_schema()


class QueryExecutor:
    """Executes queries; `call` returns the results of root fields."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def answer(
        self, asked: QueryContext, query: str, variables: dict[str, Any] | None, operation: str | None, accepted: str
    ) -> Response:
        """The response, with the errors if the query is not valid. Blocks, so call it in a thread without an event
        loop. `accepted` is the header Accept-Encoding of the request."""
        document, errors = _checked(query) if len(query) <= _CACHED_CHARACTERS else _checked.__wrapped__(query)
        if document is None:
            return _encoded(None, errors)
        result = asyncio.run(self._execute(asked, document, variables, operation))
        return _encoded(result.data, result.errors or [], accepted)

    async def _execute(
        self, asked: QueryContext, document: DocumentNode, variables: dict[str, Any] | None, operation: str | None
    ) -> ExecutionResult:
        result = execute(
            SCHEMA,
            document,
            variable_values=variables,
            operation_name=operation,
            context_value=asked,
            field_resolver=self._resolve,
        )
        return await result if isinstance(result, Awaitable) else result

    def _resolve(self, source: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
        """The value of any field of any type; graphql-core calls this for each field."""
        if source is None:
            return self._root(info, arguments.get("input") or {})
        if info.parent_type.name == "MlflowRunExtension" and info.field_name == "experiment":
            return self._experiment(info.context, source["info"]["experiment_id"])
        if info.parent_type.name == "MlflowRunExtension" and info.field_name == "modelVersions":
            return source["versions"].of(source["info"]["run_id"])
        value = source.get(snake(info.field_name))
        if value is None:
            return _unset(info.return_type)
        return None if value == "NaN" and info.field_name == "value" and _is_float(info.return_type) else value

    async def _root(self, info: GraphQLResolveInfo, given: dict[str, Any]) -> Any:
        answer = await self._call(info.context, info.field_name, given)
        runs = [answer["run"]] if "run" in answer else answer.get("runs", [])
        versions = _Versions(self._call, info.context, [run["info"]["run_id"] for run in runs])
        for run in runs:
            run["versions"] = versions
        return answer

    def _experiment(self, asked: QueryContext, experiment_id: str) -> Awaitable[Any]:
        """The experiment of a run; looked up once for all runs of the query."""
        if experiment_id not in asked.experiments:
            call = self._call(asked, "mlflowGetExperiment", {"experimentId": experiment_id})
            asked.experiments[experiment_id] = asyncio.ensure_future(call)
        return _named(asked.experiments[experiment_id], "experiment")


class _Versions:
    """The model versions of the runs of one response: one search for all runs, when the first run needs its own."""

    def __init__(self, call: Call, asked: QueryContext, run_ids: Sequence[str]) -> None:
        self._search = functools.partial(call, asked, "mlflowSearchModelVersions")
        self._run_ids = run_ids
        self._found: asyncio.Task[Any] | None = None

    async def of(self, run_id: str) -> list[Any]:
        if self._found is None:
            quoted = ", ".join(f"'{run_id}'" for run_id in self._run_ids)
            self._found = asyncio.ensure_future(self._search({"filter": f"run_id IN ({quoted})"}))
        versions = (await self._found).get("model_versions", [])
        return [version for version in versions if version["run_id"] == run_id]


async def _named(answer: Awaitable[Any], name: str) -> Any:
    return (await answer)[name]


def _encoded(data: Any, errors: Sequence[GraphQLError], accept_encoding: str = "") -> Response:
    return json_response(
        {"data": data, "errors": [_words_of(error) for error in errors] or None}, accept_encoding=accept_encoding
    )


def _words_of(error: GraphQLError) -> str:
    """The message of an error; for an error of a handler, the same as that of the REST route."""
    cause = error.original_error
    return error.message if cause is None or isinstance(cause, GraphQLError) else mlflow_error_of(cause).message


@functools.lru_cache(maxsize=32)
def _checked(query: str) -> tuple[DocumentNode | None, list[GraphQLError]]:
    """A parsed query and no errors, or None and the errors of a query that is not valid."""
    try:
        document = parse(query, max_tokens=MAX_TOKENS)
    except GraphQLError as error:
        return None, [error]
    errors = _beyond_limits(document) or validate(SCHEMA, document)
    return (None, errors) if errors else (document, [])


def _beyond_limits(document: DocumentNode) -> list[GraphQLError]:
    """The error of a query that exceeds a limit; empty otherwise. Limits are checked first, since validation is
    slow."""
    fragments = {
        node.name.value: node.selection_set for node in document.definitions if isinstance(node, FragmentDefinitionNode)
    }
    levels = [(1, node.selection_set) for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    roots = aliases = selections = 0
    while levels:
        depth, selection_set = levels.pop()
        if depth > MAX_DEPTH:
            return [GraphQLError(f"Query exceeds maximum depth of {MAX_DEPTH}")]
        fields = list(_fields(selection_set, fragments))
        selections += len(fields)
        if selections > MAX_SELECTIONS:
            return [GraphQLError(f"Query exceeds maximum total selections of {MAX_SELECTIONS}")]
        if len(fields) > MAX_FIELDS:
            return [GraphQLError(f"Query exceeds maximum of {MAX_FIELDS} fields of one object")]
        roots += len(fields) if depth == 1 else 0
        aliases = max(aliases, sum(field.alias is not None for field in fields))
        levels += [(depth + 1, field.selection_set) for field in fields if field.selection_set is not None]
    for count, limit, what in ((roots, MAX_ROOT_FIELDS, "root fields"), (aliases, MAX_ALIASES, "aliases")):
        if count > limit:
            return [GraphQLError(f"GraphQL queries should have at most {limit} {what}, got {count} {what}.")]
    return []


def _fields(selection_set: SelectionSetNode, fragments: Mapping[str, SelectionSetNode]) -> Iterator[FieldNode]:
    """The fields of one level, including those of its fragments; each fragment once, so that cycles end."""
    seen: set[str] = set()
    waiting = list(selection_set.selections)
    while waiting:
        selection = waiting.pop()
        if isinstance(selection, FieldNode):
            yield selection
        elif isinstance(selection, FragmentSpreadNode):
            name = selection.name.value
            if name in fragments and name not in seen:
                seen.add(name)
                waiting += fragments[name].selections
        else:
            waiting += selection.selection_set.selections  # type: ignore[attr-defined]  # an inline fragment


def _unset(kind: Any) -> Any:
    """The value of a field of this type that is missing in the response of the REST route."""
    nullable = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
    if isinstance(nullable, GraphQLList):
        return []
    if isinstance(nullable, GraphQLObjectType):
        return None if nullable.name == "ApiError" else {}
    if isinstance(nullable, GraphQLEnumType):
        return next(iter(nullable.values))
    return _UNSET[nullable.name]


def _is_float(kind: object) -> bool:
    return isinstance(kind, GraphQLScalarType) and kind.name == "Float"
