"""Parses MLflow's search language, with OR, NOT and parentheses, into conditions and orders.

A filter is first parsed as MLflow does it, with all its peculiarities: comparisons in a row, with any number of ANDs
between them. A filter that this refuses is parsed as an expression: NOT binds tightest, then AND, then OR.

It uses lark, not mlflow-skinny's own parser: that one takes 0.55 s to import and 77 MB of memory, has pinned
dependencies of its own (databricks-sdk, opentelemetry, sqlparse and others) and is not public. lark takes 0.04 s to
import and 11 MB; the grammar below is built in 0.01 s. A filter of three comparisons takes 0.15 ms, or 0.006 ms when it
was seen before; MLflow's parser takes 0.6 ms. tests/mlflow/test_search_grammar.py compares what the two accept, with a
table of the differences that are intended.
"""

from __future__ import annotations

import ast
import functools
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lark import Lark, Token, Tree, UnexpectedInput

from runstream_service.concurrency import threads
from runstream_service.errors.core import InvalidField
from runstream_service.search.conditions import And, Comparison, Condition, Value, all_of, any_of, negated
from runstream_service.search.dialects import OF_POINTS, Dialect, Kind, Rule, ValueType

if TYPE_CHECKING:
    from lark.parsers.lalr_interactive_parser import InteractiveParser

MAX_CHARACTERS = 65_536  # without lists
MAX_CHARACTERS_WITH_LISTS = 1_000_000  # a list of 25,000 run ids
MAX_COMPARISONS = 100
MAX_PARENTHESES = 32  # open at the same time
MAX_ORDERS = 20
# 100 comparisons and the ANDs between them are 400 tokens; MLflow accepts any number of ANDs.
_MAX_TOKENS = 1_000
# How many pieces of text and lists are looked for in a long filter; and how many quotes it may have, since they take
# longer to search than other characters.
_MAX_PIECES = 1_000
_MAX_QUOTES = 60_000
# Longer filters have long lists of ids; a cache of them would take memory and hardly ever be hit.
_CACHED_CHARACTERS = 4_096

# Text in quotes may contain its quotes doubled or behind a backslash; they stay as they are. No expression can match
# the same text in two ways, and none goes through it one character at a time, so that no filter can take quadratic
# time. Lark removes the backslash from \\", hence [\\].
_GRAMMAR = r"""
row: (_AND | comparison)*

?expression: conjunction | conjunction (_OR conjunction)+ -> disjunction
?conjunction: factor | factor (_AND factor)+
?factor: comparison | of_best | negation | _OPEN expression _CLOSE
negation: NOT+ (comparison | of_best | _OPEN expression _CLOSE)

comparison: NAME _test
of_best: NAME _OPEN NAME _CLOSE _test
_test: OPERATOR (TEXT | NUMBER | LIST | WORD) | PRESENCE

order: field DIRECTION?
field: NAME | NAME _OPEN NAME _CLOSE

NAME: /(?!(AND|OR|NOT)(?![\w.$#]))(`[^`]*(``[^`]*)*`|"[^"]*"|[\w$#]+)(\.(`[^`]*(``[^`]*)*`|"[^"]*"|'[^']*'|[\w$#]+))*/i
_AND.2: /AND(?![\w.$#])/i
_OR.2: /OR(?![\w.$#])/i
NOT.2: /NOT(?![\w.$#])/i
_OPEN: "("
_CLOSE: ")"
OPERATOR: /<=|>=|<>|!=|==|=|<|>|(NOT\s+)?(I?LIKE|IN)\b/i
PRESENCE.2: /IS\s+(NOT\s+)?NULL\b/i
DIRECTION: /(ASC|DESC)\b/i
TEXT.4: /'[^'\\]*((''|[\\]'?)[^'\\]*)*'|"[^"\\]*((""|[\\]"?)[^"\\]*)*"/
NUMBER.3: /-?(\d+(\.\d*)?|\.\d+)(E[+-]?\d+)?(?![\w.])/i
LIST.2: /\([^'"()\\]*(('[^'\\]*(\\.[^'\\]*)*'|"[^"\\]*(\\.[^"\\]*)*")[^'"()\\]*)*\)/s
WORD: /[^\s'"(),;]+/
%ignore /\s+/
"""

_PLAIN_LIST = re.compile(r"\(\s*'[^'\\\r\n]*'(\s*,\s*'[^'\\\r\n]*')*\s*,?\s*\)")
_PLAIN_TEXT = re.compile(r"'([^']*)'")
_PIECES = re.compile(
    r"""[^'"`(]+|'[^'\\]*((''|\\'?)[^'\\]*)*'|"[^"\\]*((""|\\"?)[^"\\]*)*"|`[^`]*`|(?P<list>"""
    + _PLAIN_LIST.pattern
    + r")|."
)

_END = Token("$END", "")
# What may come next, in a message.
_WORDS = {
    "NAME": "a field",
    "OPERATOR": "an operator such as = or <",
    "PRESENCE": "",
    "TEXT": "a value",
    "NUMBER": "",
    "LIST": "",
    "WORD": "",
    "NOT": "NOT",
    "_AND": "AND",
    "_OR": "OR",
    "_OPEN": "'('",
    "_CLOSE": "')'",
    "$END": "the end",
}


@dataclass(frozen=True, slots=True)
class Order:
    """One field to order by."""

    kind: str
    key: str
    descending: bool


class _Text(NamedTuple):
    """A filter in which marks replace the lists, the lists, and the positions of the marks."""

    text: str
    lists: Sequence[str] = ()
    marks_at: Sequence[int] = ()

    def position(self, at: int) -> int:
        """The position in the whole filter of a character at this position of the text."""
        before = [number for number, mark_at in enumerate(self.marks_at) if mark_at < at]
        return at + sum(len(self.lists[number]) - len(_mark(number)) for number in before)

    def value(self, token: Token) -> Token:
        """The token; if it is a mark, with the list in its place."""
        return token.update(value=self.lists[int(token[3:-2])]) if token.startswith("('\0") else token


async def read_filter(text: str, dialect: Dialect) -> And:
    """Like `parse_filter`, but parses long filters in a thread. Also raises Overloaded."""
    if len(text) <= _CACHED_CHARACTERS:
        return parse_filter(text, dialect)
    return await threads.PARSING.run(parse_filter, text, dialect)


def parse_filter(text: str, dialect: Dialect) -> And:
    """The conditions of a filter, all of which have to be true; none if the filter is empty.

    Raises:
        InvalidField: with MLflow's message, where there is one, and the position of the error.
    """
    _check_text(text, "filter", MAX_CHARACTERS_WITH_LISTS)
    if len(text) <= _CACHED_CHARACTERS:
        return _parsed_filter(text, dialect)
    if sum(map(text.count, "'\"`")) > _MAX_QUOTES:
        raise InvalidField(f"filter: has more than {_MAX_QUOTES // 2:,} texts in quotes", field="filter")
    rest = _without_lists(text)
    _check_length(rest.text, "filter", MAX_CHARACTERS, " besides lists of plain texts")
    return _Reader(rest, dialect).read()


def _without_lists(text: str) -> _Text:
    """The filter with marks in place of its lists: this takes milliseconds for a list of 25,000 ids, for which the
    grammar would take half a second. A mark contains a NUL character, which no filter does."""
    lists: list[str] = []
    marks_at: list[int] = []
    rest = ""
    at = 0
    for count, match in enumerate(_PIECES.finditer(text)):
        if count >= _MAX_PIECES:
            break  # the rest stays in the text
        if match["list"]:
            rest += text[at : match.start()]
            marks_at.append(len(rest))
            rest += _mark(len(lists))
            lists.append(match["list"])
            at = match.end()
    return _Text(rest + text[at:], lists, marks_at)


def _mark(number: int) -> str:
    return f"('\0{number}')"


def parse_order_by(texts: Sequence[str], dialect: Dialect) -> tuple[Order, ...]:
    """The fields to order by, without repetitions. Raises InvalidField."""
    if len(texts) > MAX_ORDERS:
        raise InvalidField(f"order_by: has {len(texts):,} fields; at most {MAX_ORDERS} are allowed", field="order_by")
    orders = tuple(_parsed_order(_check_text(text, "order_by", _CACHED_CHARACTERS), dialect) for text in texts)
    once: dict[tuple[str, str], Order] = {}
    for order in orders:
        once.setdefault((order.kind, order.key), order)
    if len(once) < len(orders) and not dialect.may_repeat_orders:
        raise InvalidField(f"`order_by` contains duplicate fields: {list(texts)}", field="order_by")
    return tuple(once.values())


def parse_field(text: str, dialect: Dialect) -> tuple[str, str]:
    """The kind and the key of a field to order by, which is written without a direction. Raises InvalidField."""
    return _orderable("", _check_text(text.strip(), "order_by", _CACHED_CHARACTERS), dialect)


@functools.lru_cache(maxsize=1_024)
def _parsed_filter(text: str, dialect: Dialect) -> And:
    return _Reader(_Text(text), dialect).read()


class _Reader:
    """Parses one filter."""

    def __init__(self, text: _Text, dialect: Dialect) -> None:
        self._text = text
        self._dialect = dialect

    def read(self) -> And:
        text = self._text.text
        if text and not text.strip():
            raise InvalidField(f"Invalid filter '{text[:80]}'. Could not be parsed.", field="filter", position=0)
        try:
            tree = self._parsed(_FILTERS.parse_interactive(text, start="row"))
        except UnexpectedInput:
            tree = self._expression()
        return all_of([self._condition(tree)])

    def _expression(self) -> Tree[Token]:
        text = self._text.text
        try:
            return self._parsed(_FILTERS.parse_interactive(text, start="expression"))
        except UnexpectedInput as error:
            at = len(text) if getattr(error, "token", None) == _END else error.pos_in_stream
            raise self._refused(
                f"Invalid clause(s) in filter string: expected {_expected_behind(text[:at])}{_excerpt(text, at)}",
                at,
                ". Provide comparisons such as metrics.loss < 0.1 AND (params.`learning rate` = '0.01' OR NOT "
                "tags.old = 'yes'): joined with AND or OR, text in quotes, names with other characters than letters, "
                "digits and _ in backticks",
            ) from error

    def _parsed(self, parsing: InteractiveParser) -> Tree[Token]:
        """Lark's tree. Stops with an error at the first token that exceeds a limit."""
        comparisons = parentheses = 0
        for count, token in enumerate(parsing.iter_parse()):
            comparisons += token.type in ("OPERATOR", "PRESENCE")
            parentheses += (token.type == "_OPEN") - (token.type == "_CLOSE")
            if comparisons > MAX_COMPARISONS or count > _MAX_TOKENS:
                raise self._refused(
                    f"filter: has more than {MAX_COMPARISONS} comparisons, which is the most that is allowed",
                    token.start_pos,
                )
            if parentheses > MAX_PARENTHESES:
                raise self._refused(
                    f"filter: has more than {MAX_PARENTHESES} parentheses within each other, which is the most that is "
                    "allowed",
                    token.start_pos,
                )
        tree: Tree[Token] = parsing.feed_eof()  # type: ignore[no-untyped-call]
        return tree

    def _condition(self, tree: Tree[Token]) -> Condition:
        tokens = [child for child in tree.children if isinstance(child, Token)]
        if tree.data == "comparison":
            return self._comparison("", *tokens)
        if tree.data == "of_best":
            return self._comparison(*tokens)
        parts = [self._condition(child) for child in tree.children if isinstance(child, Tree)]
        if tree.data == "disjunction":
            return any_of(parts)
        if tree.data == "negation":
            return negated(parts[0]) if len(tree.children) % 2 == 0 else parts[0]  # two NOTs cancel each other
        return all_of(parts)

    def _comparison(
        self, function: Token | str, name: Token, operator: Token, token: Token | None = None
    ) -> Comparison:
        """A comparison, checked against the dialect. `function` is min or max, or empty."""
        comparator = " ".join(operator.upper().split())
        with self._at(function if isinstance(function, Token) else name):
            kind, key = _kind_and_key(function, name, self._dialect, "filter")
            rule = _rule(kind, key)
            if token is None and comparator not in rule.operators:
                raise _wrong(f"IS NULL / IS NOT NULL is not supported for '{kind.name}' '{key}'")
        # The value is checked before the operator, as in MLflow, so that the messages are the same.
        value = None
        if token is not None:
            with self._at(token):
                value = _value(kind, key, rule, self._text.value(token))
        with self._at(operator):
            _check_operator(kind, key, rule, comparator, value)
        return Comparison(kind.name, rule.alias_of or key, comparator, value)

    @contextmanager
    def _at(self, token: Token) -> Iterator[None]:
        """Adds the position of a token to an error in the block."""
        try:
            yield
        except InvalidField as error:
            raise self._refused(error.message, token.start_pos) from error

    def _refused(self, message: str, at: int | None, advice: str = "") -> InvalidField:
        position = self._text.position(at or 0)
        return InvalidField(f"{message} (at character {position + 1}){advice}", field="filter", position=position)


@functools.lru_cache(maxsize=1_024)
def _parsed_order(text: str, dialect: Dialect) -> Order:
    try:
        field, *direction = _ORDERS.parse(text).children
    except UnexpectedInput as error:
        raise InvalidField(f"Invalid order_by clause '{text[:200]}'. Could not be parsed.", field="order_by") from error
    kind, key = _orderable(*_function_and_name(field), dialect)
    return Order(kind, key, bool(direction) and str(direction[0]).upper() == "DESC")


def _function_and_name(field: Tree[Token] | Token) -> tuple[str, str]:
    *function, name = [str(child) for child in field.children] if isinstance(field, Tree) else [str(field)]
    return "".join(function), name


def _orderable(function: str, name: str, dialect: Dialect) -> tuple[str, str]:
    kind, key = _kind_and_key(function, name, dialect, "order_by")
    if not kind.orders:
        raise InvalidField(f"Invalid order_by entity: {kind.name}", field="order_by")
    if kind.keys is None:
        return kind.name, key
    if key not in dialect.order_keys:
        raise InvalidField(
            f"Invalid attribute key '{key}' specified. Valid keys are '{sorted(dialect.order_keys)}'", field="order_by"
        )
    return kind.name, dialect.order_keys[key]


def _rule(kind: Kind, key: str) -> Rule:
    rule = kind.rule_of(key)
    if rule is None:
        raise _wrong(f"Invalid {kind.name} key '{key}' specified. Valid keys are '{sorted(kind.keys or ())}'")
    return rule


def _check_operator(kind: Kind, key: str, rule: Rule, operator: str, value: Value) -> None:
    if operator not in rule.operators:
        raise _wrong(f"Invalid comparator '{operator}' not one of '{sorted(rule.operators)}'")
    if operator.endswith("IN") != isinstance(value, tuple):
        raise _wrong(
            f"Invalid comparator '{operator}' for {kind.name} '{key}': IN takes a list, the others a single value"
        )


def _kind_and_key(function: str, name: str, dialect: Dialect, where: str) -> tuple[Kind, str]:
    """The kind and the key of a field. A function, such as min(metrics.loss), has a kind of its own."""
    kind, key = _kind_and_key_of(str(name), dialect, where)
    if not function:
        return kind, key
    of_metric = dialect.functions.get(function.lower())
    if of_metric is None or kind.name != "metric":
        known = [f"{one}(metrics.loss)" for one in dialect.functions]
        raise InvalidField(f"Invalid function '{function[:80]}({name[:80]})'. Valid functions are {known}", field=where)
    return of_metric, key


def _kind_and_key_of(name: str, dialect: Dialect, where: str) -> tuple[Kind, str]:
    word, point, key = name.partition(".")
    if not point:
        return dialect.attributes, _unquoted(name)
    kind = dialect.by_word.get(_unquoted(word))
    if kind is None:
        valid = [kind.name for kind in dialect.kinds]
        raise InvalidField(f"Invalid entity type '{_unquoted(word)}'. Valid values are {valid}", field=where)
    return kind, _unquoted(key)


def _value(kind: Kind, key: str, rule: Rule, token: Token) -> Value:
    if token.type == "LIST":
        return _list(kind, key, rule, token)
    if rule.values in (ValueType.TEXT, ValueType.QUOTED_WHOLE):
        text = _text(kind, token)
        return text if rule.values is ValueType.TEXT else _experiment_id(text)
    if token.type == "TEXT" and rule.also_quoted:
        token = Token("NUMBER", token[1:-1])
    if token.type != "NUMBER":
        what = "metric" if kind.name in OF_POINTS else f"numeric attribute: {key}"
        raise _wrong(f"Expected numeric value type for {what}. Found {token[:80]}")
    return _number(key, rule, token)


def _text(kind: Kind, token: Token) -> str:
    if token.type == "TEXT":
        return str(token[1:-1])
    if token.type == "WORD":
        raise _wrong(
            "Parameter value is either not quoted or unidentified quote types used for string value "
            f"{token[:80]}. Use either single or double quotes."
        )
    what = "attributes" if kind.name == "attribute" else kind.name
    raise _wrong(f"Expected a quoted string value for {what} (e.g. 'my-value'). Got value {token[:80]}")


def _number(key: str, rule: Rule, text: str) -> int | float:
    try:
        if rule.values is ValueType.NUMBER:
            return float(text)
        if re.fullmatch(r"-?\d+", text):
            return int(text)
        if rule.values is ValueType.WHOLE_OR_FRACTION:
            return float(text)
    except ValueError:  # more digits than Python parses
        pass
    raise _wrong(f"Invalid value for numeric attribute '{key}': {text[:80]!r}")


def _list(kind: Kind, key: str, rule: Rule, token: Token) -> tuple[str, ...] | tuple[int, ...]:
    if "IN" not in rule.operators:
        supporting = sorted(name for name, other in (kind.keys or {}).items() if "IN" in other.operators)
        if kind.keys is None:
            raise _wrong(f"Expected a quoted string value for {kind.name} (e.g. 'my-value'). Got value {token[:80]}")
        raise _wrong(f"Only {supporting} attributes support comparison with a list of quoted string values.")
    texts = _texts(token)
    return texts if rule.values is ValueType.TEXT else tuple(map(_experiment_id, texts))


def _texts(token: str) -> tuple[str, ...]:
    """The texts in a list. As in MLflow, it is parsed as a Python tuple, so \\' is a quote, unlike in a single
    value."""
    if _PLAIN_LIST.fullmatch(token):
        return tuple(_PLAIN_TEXT.findall(token))
    if len(token) > _CACHED_CHARACTERS:  # Python would take half a second for some hundred kilobytes
        raise _wrong(
            "While parsing a list in the query, expected quoted texts with commas between them and without "
            f"backslashes, as it has more than {_CACHED_CHARACTERS:,} characters"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about backslashes before other characters, which stay
            found = ast.literal_eval(token.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise _wrong(
            "While parsing a list in the query, expected a non-empty list of string values, but got ill-formed list."
        ) from error
    texts = found if isinstance(found, tuple) else (found,)
    if not texts:
        raise _wrong(
            "While parsing a list in the query, expected a non-empty list of string values, but got empty list"
        )
    for text in texts:
        if not isinstance(text, str):
            raise _wrong(
                "While parsing a list in the query, expected string value, punctuation, or whitespace, but got "
                f"different type in list: {token[:200]}"
            )
        _check_text(text, "filter", _CACHED_CHARACTERS)
    return texts


def _experiment_id(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise _wrong(f"Invalid experiment ID '{text[:80]}'. Experiment ID must be a valid integer.")
    return int(text)


def _unquoted(name: str) -> str:
    """A name without its quotes: as in MLflow, first plain quotes are removed, then backticks."""
    for quotes in ("'\"", "`"):
        if len(name) >= 2 and name[0] == name[-1] and name[0] in quotes:
            name = name[1:-1]
    return name


def _check_text(text: str, field: str, limit: int) -> str:
    _check_length(text, field, limit)
    if re.search(r"[\x00\ud800-\udfff]", text):
        raise InvalidField(
            f"{field}: has a NUL character or a lone surrogate, which no stored text can have", field=field
        )
    return text


def _check_length(text: str, field: str, limit: int, what: str = "") -> None:
    if len(text) > limit:
        raise InvalidField(f"{field}: has {len(text):,} characters{what}; at most {limit:,} are allowed", field=field)


def _expected_behind(text: str) -> str:
    """What may follow the beginning of an expression."""
    parsing = _FILTERS.parse_interactive(text, start="expression")
    for _ in parsing.iter_parse():
        pass
    terminals = set(parsing.accepts())  # type: ignore[no-untyped-call]
    if "OPERATOR" in terminals:
        terminals.discard("_OPEN")  # only valid after min and max
    words = [word for terminal, word in _WORDS.items() if word and terminal in terminals]
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else "".join(words)


def _excerpt(text: str, at: int | None) -> str:
    return f", found {text[at : at + 60]!r}" if at is not None and text[at:] else ", but it ends"


def _wrong(message: str) -> InvalidField:
    return InvalidField(message, field="filter")


# The contextual lexer knows which tokens may come next: so a text in double quotes is a name on the left of an operator
# and a value on its right, and a parenthesis begins a list after IN and an expression elsewhere.
_FILTERS = Lark(_GRAMMAR, start=["row", "expression"], parser="lalr", lexer="contextual")
_ORDERS = Lark(_GRAMMAR, start="order", parser="lalr", lexer="contextual")
