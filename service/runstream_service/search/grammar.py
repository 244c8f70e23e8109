"""MLflow's search language -> comparisons and orders.

Parsed with lark, not with mlflow-skinny's own parser: that one costs 0.55 s of import and 77 MB of memory, brings its
own pins (databricks-sdk, opentelemetry, sqlparse and others) and is not public. lark: import 0.04 s, 11 MB; the grammar
below is built in 0.01 s. A filter of three comparisons takes 0.15 ms, 0.006 ms when it was seen before; there 0.6 ms.
What the two of them accept is compared in tests/mlflow/test_search_grammar.py, with a table of what differs on purpose.
"""

from __future__ import annotations

import ast
import functools
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedInput

from runstream_service import threads
from runstream_service.core.errors import InvalidField
from runstream_service.search.dialects import Dialect, Kind, Rule, Values

MAX_CHARACTERS = 65_536  # besides lists
MAX_CHARACTERS_WITH_LISTS = 1_000_000  # a list of 25,000 run ids
MAX_COMPARISONS = 100
MAX_ORDERS = 20
# Of 100 comparisons there are 400 with the ANDs between them; MLflow takes any number of ANDs.
_MAX_TOKENS = 1_000
# Of what comes before and after the lists; and of quotes, which take longer to look through than other characters.
_MAX_PIECES = 1_000
_MAX_QUOTES = 60_000
# Longer ones are long lists of ids; a cache of these would take memory and hardly ever be hit.
_CACHED_CHARACTERS = 4_096

# Text in quotes may have these quotes in it, doubled or behind a backslash; they stay so. No expression can match the
# same text in two ways, and none goes through it one character at a time: a filter must not be able to keep us busy.
# Lark takes the backslash out of \\", hence [\\].
_GRAMMAR = r"""
start: (_AND | comparison)*
comparison: NAME OPERATOR value   -> compare
          | NAME PRESENCE         -> presence
value: TEXT | NUMBER | LIST | WORD

order: NAME DIRECTION?

NAME: /(?!(AND|OR|NOT)(?![\w.$#]))(`[^`]*(``[^`]*)*`|"[^"]*"|[\w$#]+)(\.(`[^`]*(``[^`]*)*`|"[^"]*"|'[^']*'|[\w$#]+))*/i
_AND.2: /AND(?![\w.$#])/i
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

Value = str | int | float | tuple[str, ...] | tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One condition. `operator` is in upper case; `value` has the type of the field, and is None for IS [NOT] NULL."""

    kind: str
    key: str
    operator: str
    value: Value


@dataclass(frozen=True, slots=True)
class Order:
    """One field to order by."""

    kind: str
    key: str
    descending: bool


async def read_filter(text: str, dialect: Dialect) -> tuple[Comparison, ...]:
    """`parse_filter` without holding up the event loop: long ones are parsed in a thread. Raises Overloaded, too."""
    if len(text) <= _CACHED_CHARACTERS:
        return parse_filter(text, dialect)
    return await threads.PARSING.run(parse_filter, text, dialect)


def parse_filter(text: str, dialect: Dialect) -> tuple[Comparison, ...]:
    """The conditions of a filter, all of which have to be true; none for an empty one.

    Raises:
        InvalidField: in MLflow's words, where it has some.
    """
    _check_text(text, "filter", MAX_CHARACTERS_WITH_LISTS)
    if len(text) <= _CACHED_CHARACTERS:
        return _parsed_filter(text, dialect)
    if sum(map(text.count, "'\"`")) > _MAX_QUOTES:
        raise InvalidField(f"filter: has more than {_MAX_QUOTES // 2:,} texts in quotes", field="filter")
    rest, lists = _without_lists(text)
    _check_length(rest, "filter", MAX_CHARACTERS, " besides lists of plain texts")
    return _read_filter(rest, dialect, lists)


def _without_lists(text: str) -> tuple[str, list[str]]:
    """The filter with marks in the place of its lists, and the lists: a list of 25,000 ids is read in milliseconds so,
    and in half a second by the grammar. No filter has such a mark: it has a NUL character in it."""
    lists: list[str] = []
    rest: list[str] = []
    at = 0
    for count, match in enumerate(_PIECES.finditer(text)):
        if count >= _MAX_PIECES:
            break  # what is left counts as it is
        if match["list"]:
            rest += [text[at : match.start()], _mark(len(lists))]
            lists.append(match["list"])
            at = match.end()
    return "".join([*rest, text[at:]]), lists


def _mark(number: int) -> str:
    return f"('\0{number}')"


def parse_order_by(texts: Sequence[str], dialect: Dialect) -> tuple[Order, ...]:
    """The fields to order by, each once.

    Raises:
        InvalidField.
    """
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
    """Kind and key of a field to order by that comes without a direction. Raises InvalidField."""
    return _orderable(_check_text(text.strip(), "order_by", _CACHED_CHARACTERS), dialect)


@functools.lru_cache(maxsize=1_024)
def _parsed_filter(text: str, dialect: Dialect) -> tuple[Comparison, ...]:
    return _read_filter(text, dialect, [])


def _read_filter(text: str, dialect: Dialect, lists: Sequence[str]) -> tuple[Comparison, ...]:
    if text and not text.strip():
        raise InvalidField(f"Invalid filter '{text[:80]}'. Could not be parsed.", field="filter")
    try:
        found = _TREES.transform(_parsed(text))
    except UnexpectedInput as error:
        position = error.pos_in_stream if error.pos_in_stream is not None else len(text)
        raise InvalidField(
            f"Invalid clause(s) in filter string: {_excerpt(text, position)}. Provide comparisons such as "
            "metrics.loss < 0.1 AND params.`learning rate` = '0.01': joined with AND, text in quotes, names with other "
            "characters than letters, digits and _ in backticks",
            field="filter",
        ) from error
    marks = {_mark(number): taken for number, taken in enumerate(lists)}
    return tuple(
        _comparison(name, operator, token if token is None else token.update(value=marks.get(token, token)), dialect)
        for name, operator, token in found
    )


def _parsed(text: str) -> Any:
    """Lark's tree. Counted meanwhile: what comes after too much is not looked at."""
    parsing = _FILTERS.parse_interactive(text)
    comparisons = 0
    for count, token in enumerate(parsing.iter_parse()):
        comparisons += token.type in ("OPERATOR", "PRESENCE")
        if comparisons > MAX_COMPARISONS or count > _MAX_TOKENS:
            raise InvalidField(
                f"filter: has more than {MAX_COMPARISONS} comparisons, which is the most that is allowed",
                field="filter",
            )
    return parsing.feed_eof()  # type: ignore[no-untyped-call]


@functools.lru_cache(maxsize=1_024)
def _parsed_order(text: str, dialect: Dialect) -> Order:
    try:
        name, *direction = _ORDERS.parse(text).children
    except UnexpectedInput as error:
        raise InvalidField(f"Invalid order_by clause '{text[:200]}'. Could not be parsed.", field="order_by") from error
    kind, key = _orderable(str(name), dialect)
    return Order(kind, key, bool(direction) and str(direction[0]).upper() == "DESC")


def _orderable(name: str, dialect: Dialect) -> tuple[str, str]:
    kind, key = _kind_and_key(name, dialect, "order_by")
    if not kind.orders:
        raise InvalidField(f"Invalid order_by entity: {kind.name}", field="order_by")
    if kind.keys is None:
        return kind.name, key
    if key not in dialect.order_keys:
        raise InvalidField(
            f"Invalid attribute key '{key}' specified. Valid keys are '{sorted(dialect.order_keys)}'", field="order_by"
        )
    return kind.name, dialect.order_keys[key]


def _comparison(name: str, operator: str, token: Token | None, dialect: Dialect) -> Comparison:
    """Checks one against the dialect."""
    kind, key = _kind_and_key(name, dialect, "filter")
    rule = kind.rule_of(key)
    if rule is None:
        raise InvalidField(
            f"Invalid {kind.name} key '{key}' specified. Valid keys are '{sorted(kind.keys or ())}'", field="filter"
        )
    if token is None and operator not in rule.operators:
        raise _wrong(f"IS NULL / IS NOT NULL is not supported for '{kind.name}' '{key}'")
    # First the value, then the operator: as MLflow does, whose messages tell of the value.
    value = None if token is None else _value(kind, key, rule, token)
    if operator not in rule.operators:
        raise _wrong(f"Invalid comparator '{operator}' not one of '{sorted(rule.operators)}'")
    if operator.endswith("IN") != isinstance(value, tuple):
        raise _wrong(
            f"Invalid comparator '{operator}' for {kind.name} '{key}': IN takes a list, the others a single value"
        )
    return Comparison(kind.name, rule.alias_of or key, operator, value)


def _kind_and_key(name: str, dialect: Dialect, where: str) -> tuple[Kind, str]:
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
    if rule.values in (Values.TEXT, Values.QUOTED_WHOLE):
        text = _text(kind, token)
        return text if rule.values is Values.TEXT else _experiment_id(text)
    if token.type == "TEXT" and rule.also_quoted:
        token = Token("NUMBER", token[1:-1])
    if token.type != "NUMBER":
        what = "metric" if kind.name == "metric" else f"numeric attribute: {key}"
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
        if rule.values is Values.NUMBER:
            return float(text)
        if re.fullmatch(r"-?\d+", text):
            return int(text)
        if rule.values is Values.WHOLE_OR_FRACTION:
            return float(text)
    except ValueError:  # more digits than Python takes
        pass
    raise _wrong(f"Invalid value for numeric attribute '{key}': {text[:80]!r}")


def _list(kind: Kind, key: str, rule: Rule, token: Token) -> tuple[str, ...] | tuple[int, ...]:
    if "IN" not in rule.operators:
        supporting = sorted(name for name, other in (kind.keys or {}).items() if "IN" in other.operators)
        if kind.keys is None:
            raise _wrong(f"Expected a quoted string value for {kind.name} (e.g. 'my-value'). Got value {token[:80]}")
        raise _wrong(f"Only {supporting} attributes support comparison with a list of quoted string values.")
    texts = _texts(token)
    return texts if rule.values is Values.TEXT else tuple(map(_experiment_id, texts))


def _texts(token: str) -> tuple[str, ...]:
    """A list is read as Python reads a tuple, as MLflow does: there, other than in a single value, \\' is a quote."""
    if _PLAIN_LIST.fullmatch(token):
        return tuple(_PLAIN_TEXT.findall(token))
    if len(token) > _CACHED_CHARACTERS:  # Python would take half a second for some hundred kilobytes
        raise _wrong(
            "While parsing a list in the query, expected quoted texts with commas between them and without "
            f"backslashes, as it has more than {_CACHED_CHARACTERS:,} characters"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of backslashes before other characters, which stay
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
    """First plain quotes, then backticks come off, as in MLflow."""
    for quotes in ("'\"", "`"):
        if len(name) >= 2 and name[0] == name[-1] and name[0] in quotes:
            name = name[1:-1]
    return name


def _check_text(text: str, field: str, limit: int) -> str:
    _check_length(text, field, limit)
    if re.search(r"[\x00\ud800-\udfff]", text):
        raise InvalidField(f"{field}: has a NUL character or a lone surrogate, which nothing stored has", field=field)
    return text


def _check_length(text: str, field: str, limit: int, what: str = "") -> None:
    if len(text) > limit:
        raise InvalidField(f"{field}: has {len(text):,} characters{what}; at most {limit:,} are allowed", field=field)


def _excerpt(text: str, position: int) -> str:
    return f"{text[position : position + 60]!r} at character {position + 1}" if text[position:] else "it ends too early"


def _wrong(message: str) -> InvalidField:
    return InvalidField(message, field="filter")


class _Trees(Transformer[Token, Any]):
    """Lark's trees -> (name, operator, token of the value or None)."""

    def start(self, comparisons: list[Any]) -> list[Any]:
        return comparisons

    def value(self, tokens: list[Token]) -> Token:
        return tokens[0]

    def compare(self, parts: list[Token]) -> tuple[str, str, Token]:
        name, operator, value = parts
        return str(name), " ".join(operator.upper().split()), value

    def presence(self, parts: list[Token]) -> tuple[str, str, None]:
        name, operator = parts
        return str(name), " ".join(operator.upper().split()), None


_TREES = _Trees()
# The contextual lexer knows what may come: so a text in double quotes is a name on the left and a value on the right.
_FILTERS = Lark(_GRAMMAR, start="start", parser="lalr", lexer="contextual")
_ORDERS = Lark(_GRAMMAR, start="order", parser="lalr", lexer="contextual")
