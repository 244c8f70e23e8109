"""Our parser of filters and orders compared with MLflow's own, on texts that are written, generated and mutated."""

from __future__ import annotations

import contextlib
import random
import time
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.utils.search_utils import (
    SearchExperimentsUtils,
    SearchModelUtils,
    SearchModelVersionUtils,
    SearchUtils,
)

from runstream_service.errors.core import InvalidField
from runstream_service.search.conditions import Comparison, Condition, Not
from runstream_service.search.dialects import (
    EXPERIMENTS,
    LOGGED_MODELS,
    MODEL_VERSIONS,
    REGISTERED_MODELS,
    RUNS,
    Dialect,
)
from runstream_service.search.grammar import parse_filter, parse_order_by

SEED = 20_261_122
Parsed = list[Any]

# What differs on purpose: (dialect, text, why). Ours takes all of it; MLflow refuses it, with 400 or with 500.
TAKEN_BY_US_ALONE = [
    (RUNS, "params.from = 'x'", "keywords of SQL are names"),
    (RUNS, "metrics.1 = 1", "so are numbers"),
    (RUNS, "tags.a IS NOT  NULL", "spaces are free"),
    (RUNS, "metrics.a > 1e+5", "as Python writes numbers"),
    (EXPERIMENTS, "name like 'x%'", "operators in lower case, as for runs"),
    (MODEL_VERSIONS, "`name` = 'x'", "quoted attributes, as for runs"),
    (RUNS, "metric.a=1 or params.b='x'", "OR"),
    (RUNS, "(metrics.a = 1)", "parentheses"),
    (RUNS, "NOT metrics.a = 1", "NOT"),
    (EXPERIMENTS, "name = 'x' OR tags.a = 'y'", "for experiments, too"),
    (REGISTERED_MODELS, "NOT (name = 'x' OR tags.a = 'y')", "for models, too"),
    (LOGGED_MODELS, "attribute.name = 'x'", "the word for attributes that all others take"),
]
# Ours refuses it with 400; MLflow takes it and compares something else than it says, or answers 500.
REFUSED_BY_US_ALONE = [
    (RUNS, "metrics. a = 1", "a key ' a'"),
    (RUNS, "run_id = ('a')", "a list without IN: 500"),
    (RUNS, 'params.a = "a"."b"', 'a value a"."b'),
    (EXPERIMENTS, "experiment_id = 'x'", "no number"),
]

TEXTS = [
    text.strip()
    for line in """
metrics.a > 1 | metrics.a>-1 | metrics.a > 1.5e-3 | metrics.a > .5 | metrics.a > 5. | metrics.a > - 1
metrics.a > +1 | metrics.a > 0x10 | metrics.a > nan | metrics.a > '1' | metrics.`a b` = 1 | metrics."a b" = 1
metrics.'a b' = 1 | metrics.a.b = 1 | metrics.a/b = 1 | metrics.a-b = 1 | metrics.a b = 1 | `metrics`.a = 1
metric.a=1 and params.b='x' | params.a = 'it''s' | params.a = 'it\\'s'
params.a = `x` | params.a = x | params.a like 'x%' | params.a ILIKE 'X' | params.a not like 'x' | params.a in ('x')
tags.a IS NULL | tags.a is null | tags.a IS NOT NULL | tags.a is  null | metrics.a is null | a is null
run_id in ('a') | run_id NOT IN ('a','b',) | run_id in () | run_id in (1) | run_id in ('a' 'b')
run_id in ("a",'b') | run_id in ('a\\n') | attr.run_id='a' | run.status='a' | status in ('a') | Created > 1
created > 1.5 | start_time > '1' | `start_time` > 1 | "start_time" > 1 | attributes.`Run Name` = 'x'
`Run Name` = 'x' | run name = 'x' | datasets.name in ('x') | dataset.foo='x' | dataset.context IN ('a','b')
dataset.name > 'x' | metrics.a = 1 AND | AND metrics.a = 1 | AND | metrics.a = 1 AND AND metrics.b = 2
metrics.a = 1 metrics.b = 2 | metrics.a = 1; metrics.b=2 | metrics.a = 1; | metrics.a = 1 -- c
metrics.a == 1 | metrics.a <> 1 | metrics.a LIKE 1 | params.a > '1' | 1 < metrics.a | metrics.a = metrics.b
params.a = params.b | foo.a = 1 | metrics .a = 1 | metrics.1a = 1 | params.order = 'x'
tags.mlflow.source.name = 'x' | params.a = '' | params.a='x'and params.b='y' | metrics.a=1and metrics.b=2
params.`a``b` = 'x' | params.a:b = 'x' | params.été = 'x' | METRICS.a = 1 | end_time = 5 | lifecycle_stage='x'
params.a = 'a;b' | params.a = 'a -- b' | timestamp > 1 | name = 'x'
""".strip().splitlines()
    for text in line.split(" | ")
]
KINDS = [
    "metrics",
    "metric",
    "params",
    "parameter",
    "tags",
    "tag",
    "attributes",
    "attr",
    "run",
    "dataset",
    "foo",
    "Tags",
]
KEYS = ["a", "`a b`", '"c.d"', "run_id", "status", "start_time", "name", "context", "digest", "`Run Name`", "x1", "_y"]
OPERATORS = ["=", "!=", "<", "<=", ">", ">=", "LIKE", "ilike", "IN", "NOT IN", "IS NULL", "IS NOT NULL"]
VALUES = ["1", "-2.5", "1e3", "'x'", '"y z"', "''", "('a')", "('a', \"b\")", "x", "'%_x'", "''''"]


def stock_reading(utils: type[SearchUtils], text: str) -> Parsed | None:
    """What MLflow's parser and the checks of its store make of a filter; None: it is refused."""
    try:
        found = []
        for one in utils.parse_search_filter(text):
            kind, key, operator = one["type"], one["key"], one["comparator"].upper()
            if kind == "attribute":  # MLflow does it with params and tags too, and so never finds one named `created`
                key = utils.translate_key_alias(key)
            known = [
                utils.is_metric(kind, operator),
                utils.is_param(kind, operator),
                utils.is_tag(kind, operator),
                utils.is_dataset(kind, operator),
                utils.is_string_attribute(kind, key, operator),
                utils.is_numeric_attribute(kind, key, operator),
            ]
            if not any(known) or operator.endswith("IN") != isinstance(one["value"], tuple):
                return None
            found.append((kind, key, operator, float(one["value"]) if kind == "metric" else one["value"]))
        return found
    except MlflowException:
        return None


def our_reading(dialect: Dialect, text: str) -> Parsed | None:
    try:
        return list(map(_reading, parse_filter(text, dialect).parts))
    except InvalidField:
        return None


def _reading(condition: Condition) -> Any:
    if isinstance(condition, Comparison):
        return condition.kind, condition.key, condition.operator, condition.value
    if isinstance(condition, Not):
        return "NOT", _reading(condition.comparison)
    return type(condition).__name__.upper(), list(map(_reading, condition.parts))


@pytest.mark.parametrize("text", TEXTS)
def test_a_filter_of_runs_is_read_as_mlflow_reads_it(text: str) -> None:
    assert our_reading(RUNS, text.strip()) == stock_reading(SearchUtils, text.strip())


def test_generated_and_mutated_filters_are_read_as_mlflow_reads_them() -> None:
    chance = random.Random(SEED)
    accepted = 0
    for number in range(800):
        text = " AND ".join(_comparison(chance) for _ in range(chance.randint(1, 3)))
        theirs = stock_reading(SearchUtils, text)
        accepted += theirs is not None
        assert our_reading(RUNS, text) == theirs, f"seed {SEED}, filter {number}: {text!r}"
        # A mutated one: both refuse it, or what both take is the same. What one alone takes is in the tables above.
        mutated = _mutated(chance, text)
        ours, theirs = our_reading(RUNS, mutated), stock_reading(SearchUtils, mutated)
        assert ours is None or theirs is None or ours == theirs, f"seed {SEED}, filter {number}: {mutated!r}"
    assert accepted > 40


def _comparison(chance: random.Random) -> str:
    operator = chance.choice(OPERATORS)
    kind = chance.choice([f"{chance.choice(KINDS)}.", "", "metrics.", "params.", "tags."])
    value = "" if operator.startswith("IS") else f" {chance.choice(VALUES)}"
    return f"{kind}{chance.choice(KEYS)} {operator}{value}"


def _mutated(chance: random.Random, text: str) -> str:
    at = chance.randrange(len(text))
    return text[:at] + chance.choice(["", " ", "'", '"', "`", ".", "(", ")", ",", "x", "1", "="]) + text[at + 1 :]


@pytest.mark.parametrize(
    ("dialect", "utils", "text"),
    [
        (dialect, utils, text)
        for dialect, utils, texts in [
            (
                EXPERIMENTS,
                SearchExperimentsUtils,
                "name = 'x' | attribute.name LIKE 'x' | attributes.name = 'x' | tags.a = 'x' | tag.a IS NULL"
                " | name IS NULL | creation_time > 5 | last_update_time = 5 | name IN ('x') | metrics.a = 1",
            ),
            (
                REGISTERED_MODELS,
                SearchModelUtils,
                "name = 'x' | name IN ('x', 'y') | name ILIKE 'x' | tags.a = 'x' | tags.`a b` LIKE 'x'"
                " | attribute.name = 'x' | run_id = 'x' | name > 'x' | tags.a = 1 | name = 1",
            ),
            (
                MODEL_VERSIONS,
                SearchModelVersionUtils,
                "name = 'x' | run_id IN ('x') | version_number > 5 | source_path LIKE 'x' | tags.a = 'x' | version = 1"
                " | source_path IN ('x') | metrics.a = 1 | run_id = 1",
            ),
        ]
        for text in texts.split(" | ")
    ],
)
def test_the_other_filters_are_read_as_mlflow_reads_them(dialect: Dialect, utils: type[SearchUtils], text: str) -> None:
    assert our_reading(dialect, text) == stock_reading(utils, text)


def test_logged_models_have_metrics_params_tags_and_attributes() -> None:
    text = "metrics.acc > 0.5 AND params.lr = '0.1' AND tags.`a b` IN ('x') AND creation_time >= 5 AND name LIKE 'm%'"
    assert our_reading(LOGGED_MODELS, text) == [
        ("metric", "acc", ">", 0.5),
        ("parameter", "lr", "=", "0.1"),
        ("tag", "a b", "IN", ("x",)),
        ("attribute", "creation_timestamp", ">=", 5.0),
        ("attribute", "name", "LIKE", "m%"),
    ]
    assert our_reading(LOGGED_MODELS, "params.lr IS NULL") is None


A, B, C = (("metric", key, ">", 1.0) for key in "abc")
EXPRESSIONS = [
    ("{a} OR {b} AND {c}", [("OR", [A, ("AND", [B, C])])]),
    ("({a} OR {b}) AND {c}", [("OR", [A, B]), C]),
    ("NOT {a} AND {b}", [("NOT", A), B]),
    ("NOT {a} OR {b}", [("OR", [("NOT", A), B])]),
    ("not({a} or {b})", [("NOT", A), ("NOT", B)]),
    ("NOT ({a} AND {b})", [("OR", [("NOT", A), ("NOT", B)])]),
    ("NOT (NOT {a} AND NOT ({b} OR {c}))", [("OR", [A, B, C])]),
    ("NOT NOT {a}", [A]),
    ("min(metrics.a) > 1 AND Max( metric.`b.min` )<2", [("minimum", "a", ">", 1.0), ("maximum", "b.min", "<", 2.0)]),
    ("NOT min(metrics.min) = 1", [("NOT", ("minimum", "min", "=", 1.0))]),
    ("NOT NOT NOT {a}", [("NOT", A)]),
    ("((({a})) AND ({b} AND ({c})))", [A, B, C]),
    ("{a} Or ({b} oR {c})", [("OR", [A, B, C])]),
    ("{a} AND NOT ({b} AND {b}) AND {c}", [A, ("OR", [("NOT", B), ("NOT", B)]), C]),
    (
        "tags.a = 'x' OR ({a} OR tags.a = 'y') OR run_id IN ('a', 'b')",
        [
            ("OR", [A, ("tag", "a", "IN", ("x", "y")), ("attribute", "run_id", "IN", ("a", "b"))]),
        ],
    ),
    ("tags.not = 'or' OR params.`and` IN ('x')", None),
    ("NOT run_id NOT IN ('a', ') OR (')", [("NOT", ("attribute", "run_id", "NOT IN", ("a", ") OR (")))]),
    ("(run_id IN ('a') OR tags.not IS NOT NULL)", None),
]


@pytest.mark.parametrize(("text", "expected"), EXPRESSIONS)
def test_not_binds_tightest_then_and_then_or(text: str, expected: Parsed | None) -> None:
    if expected is None:
        assert (our_reading(RUNS, text) is None) == ("params.`and` IN" in text)
    else:
        assert our_reading(RUNS, text.format(a="metrics.a > 1", b="metrics.b > 1", c="metrics.c > 1")) == expected


MISTAKES = [
    ("metrics.a > 1 or", 16, "expected a field, NOT or '\\(', but it ends"),
    ("(metrics.a = 1", 14, "expected AND, OR or '\\)', but it ends"),
    ("metrics.a = 1)", 13, "expected AND, OR or the end, found '\\)'"),
    ("metrics.a = 1 OR metrics.b 2", 27, "expected an operator such as = or <, found '2'"),
    ("metrics.a = 1 OR metrics.b = 1 metrics.c = 1", 31, "expected AND, OR or the end, found 'metrics.c = 1'"),
    ("metrics.a = 1 OR OR metrics.b = 1", 17, "expected a field, NOT or '\\(', found 'OR metrics.b"),
    ("()", 1, "expected a field"),
    ("avg(metrics.a) > 1", 0, "Invalid function 'avg\\(metrics.a\\)'. Valid functions are .'min\\(metrics.loss\\)'"),
    ("metrics.a = 1 OR min(params.a) = 1", 17, "Invalid function 'min\\(params.a\\)'"),
    ("min(metrics.a > 1)", 14, "expected '\\)', found '> 1"),
    ("min(metrics.a) = 'x'", 17, "Expected numeric value"),
    ("min(metrics.a) IS NULL", 0, "IS NULL / IS NOT NULL is not supported"),
    ("NOT", 3, "expected a field"),
    ("metrics.a > 1 OR foo.b = 1", 17, "Invalid entity type 'foo'"),
    ("metrics.a > 1 OR status = 5", 26, "Expected a quoted string value"),
    ("metrics.a > 1 OR (status > 'x')", 25, "Invalid comparator '>'"),
    ("metrics.a > 1 OR nothing = 'x'", 17, "Invalid attribute key 'nothing'"),
    ("params.a = 'x", 11, "expected a value, found"),
    ("(" * 33 + "metrics.a = 1" + ")" * 33, 32, "more than 32 parentheses within each other"),
    ("metrics.a = 1 OR " * 100 + "metrics.a = 1", 1710, "more than 100 comparisons"),
]


@pytest.mark.parametrize(("text", "position", "message"), MISTAKES)
def test_a_mistake_is_reported_with_its_position_and_what_was_expected(text: str, position: int, message: str) -> None:
    with pytest.raises(InvalidField, match=message) as raised:
        parse_filter(text, RUNS)
    assert raised.value.position == position
    assert f"(at character {position + 1})" in raised.value.message


def test_the_position_of_a_mistake_behind_long_lists_counts_what_is_in_them() -> None:
    listed = ", ".join(f"'{number:032x}'" for number in range(1_000))
    text = f"run_id IN ({listed}) OR (run_id NOT IN ({listed}) AND status > 'x')"
    with pytest.raises(InvalidField, match="Invalid comparator '>'") as raised:
        parse_filter(text, RUNS)
    assert raised.value.position == text.index("> 'x'")


def test_32_parentheses_and_many_nots_are_read() -> None:
    text = "(NOT " * 32 + "metrics.a > 1" + ")" * 32
    assert our_reading(RUNS, text) == [A]
    assert our_reading(RUNS, "NOT " * 901 + "metrics.a > 1") == [("NOT", A)]


@pytest.mark.parametrize(("dialect", "text", "why"), TAKEN_BY_US_ALONE)
def test_what_we_take_and_mlflow_does_not(dialect: Dialect, text: str, why: str) -> None:
    assert our_reading(dialect, text), why


@pytest.mark.parametrize(("dialect", "text", "why"), REFUSED_BY_US_ALONE)
def test_what_mlflow_takes_and_we_do_not(dialect: Dialect, text: str, why: str) -> None:
    assert our_reading(dialect, text) is None, why


ORDERS = [
    "metrics.`a b` DESC",
    "start_time",
    "Created asc",
    "params.x desc",
    "`metrics`.a desc",
    "attributes.run_id",
    "metrics.a foo",
    "foo",
    "foo.a",
    "metrics.a DESC DESC",
    "tags.`mlflow.user` ASC",
    "run_name",
    "`Run Name`",
    "end_time DESC",
    '"start_time"',
    'metrics."a.b" DESC',
]


@pytest.mark.parametrize("text", ORDERS)
def test_an_order_of_runs_is_read_as_mlflow_reads_it(text: str) -> None:
    try:
        kind, key, ascending = SearchUtils.parse_order_by_for_search_runs(text)
    except MlflowException:
        with pytest.raises(InvalidField):
            parse_order_by([text], RUNS)
        return
    (order,) = parse_order_by([text], RUNS)
    assert (order.kind, order.key, order.descending) == (kind, SearchUtils.translate_key_alias(key), not ascending)


def test_an_order_may_be_by_the_best_value_of_a_metric() -> None:
    orders = parse_order_by(["min(metrics.`a b`) DESC", "MAX(metric.a)", "metrics.a"], RUNS)
    assert [(order.kind, order.key, order.descending) for order in orders] == [
        ("minimum", "a b", True),
        ("maximum", "a", False),
        ("metric", "a", False),
    ]
    for text, dialect in (("min(params.a)", RUNS), ("sum(metrics.a)", RUNS), ("min(name)", EXPERIMENTS)):
        with pytest.raises(InvalidField, match="Invalid function"):
            parse_order_by([text], dialect)
    with pytest.raises(InvalidField, match="duplicate fields"):
        parse_order_by(["min(metrics.a)", "min(metric.a) DESC"], RUNS)


def test_a_field_is_ordered_by_once() -> None:
    with pytest.raises(InvalidField, match="duplicate fields"):
        parse_order_by(["start_time", "Created DESC"], RUNS)
    orders = parse_order_by(["name DESC", "experiment_id", "attribute.name ASC"], EXPERIMENTS)
    assert [(order.key, order.descending) for order in orders] == [("name", True), ("experiment_id", False)]


@pytest.mark.parametrize("text", ["params.a = 'x\0'", "params.a = '\ud800'", "run_id IN ('\\x00')"])
def test_what_nothing_stored_has_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match="NUL character"):
        parse_filter(text, RUNS)


@pytest.mark.parametrize("text", ["run_id IN (" + "'a''a" * 50_000, "a" * 900_000, "(" * 100_000])
def test_a_filter_cannot_keep_the_service_busy(text: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidField):
        parse_filter(text, RUNS)
    assert time.process_time() - began < 2


HARD = {
    "comparisons": "metrics.a < 1 AND " * 3_000 + "metrics.a < 1",
    "ands": "AND " * 15_000,
    "dots": "a" + ".a" * 30_000 + " = 1",
    "a name": "metrics.`" + "a" * 65_000 + "` < 1",
    "quotes": "params.a = '" + "''" * 25_000 + "'",
    "a list of numbers": "run_id IN (" + "1," * 30_000 + "1)",
    "a sum": "run_id IN (" + "1+" * 30_000 + "1)",
    "an open list": "run_id IN (" + "'a'," * 14_000,
    "backticks": "`" * 60_000,
    "parentheses": "(" * 60_000,
    "nots": "NOT " * 15_000,
    "ors": "metrics.a < 1 OR " * 3_000 + "metrics.a < 1",
    "closed": ")" * 60_000,
}


@pytest.mark.parametrize("text", HARD.values(), ids=HARD.keys())
def test_no_filter_within_the_limits_keeps_the_service_busy(text: str) -> None:
    begun = time.thread_time()
    with contextlib.suppress(InvalidField):
        parse_filter(text, RUNS)
    # Some took seconds for each megabyte; here it is milliseconds, and more on a machine that is busy.
    assert time.thread_time() - begun < 0.25


def test_a_list_of_25_000_ids_is_read_and_the_rest_of_a_filter_is_bounded() -> None:
    ids = [f"{number:032x}" for number in range(25_000)]
    listed = ", ".join(f"'{run_id}'" for run_id in ids)
    text = f"params.`IN ('a')` = '(''b'', ' AND run_id IN ({listed}) AND status = 'FINISHED'"
    found = [part for part in parse_filter(text, RUNS).parts if isinstance(part, Comparison)]
    assert [(one.key, one.operator) for one in found] == [("IN ('a')", "="), ("run_id", "IN"), ("status", "=")]
    assert found[0].value == "(''b'', "
    assert found[1].value == tuple(ids)
    with pytest.raises(
        InvalidField, match=r"filter: has 70,0.. characters besides lists of plain texts; at most 65,536"
    ):
        parse_filter(f"params.a = '{'x' * 70_000}'", RUNS)


def test_a_long_list_that_is_not_plain_is_refused_with_what_it_has_to_be() -> None:
    with pytest.raises(InvalidField, match="expected quoted texts with commas between them and without backslashes"):
        parse_filter("run_id IN (" + "'a\\'b'," * 2_000 + "'c')", RUNS)
