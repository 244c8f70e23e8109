"""By which fields each kind of entity can be searched and ordered, as tables. The same as in MLflow 3.17 (SearchUtils
and its subclasses)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

_EQUALITY = frozenset({"=", "!="})
_LIKENESS = _EQUALITY | {"LIKE", "ILIKE"}
_MEMBERSHIP = _EQUALITY | {"IN", "NOT IN"}
_TEXTS = _LIKENESS | _MEMBERSHIP
_PRESENCE = frozenset({"IS NULL", "IS NOT NULL"})
_NUMBERS = _EQUALITY | {"<", "<=", ">", ">="}


class ValueType(Enum):
    """The type of the values that a field is compared with."""

    TEXT = "text"  # quoted
    NUMBER = "number"  # a float
    WHOLE = "whole number"  # an int
    WHOLE_OR_FRACTION = "whole number or fraction"  # an int or a float
    QUOTED_WHOLE = "quoted whole number"  # text of digits, an int afterwards


@dataclass(frozen=True, slots=True)
class Rule:
    """How a field may be compared. `alias_of`: the field for which this one is another name."""

    operators: frozenset[str]
    values: ValueType = ValueType.TEXT
    alias_of: str = ""
    also_quoted: bool = False  # a number may be quoted too


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of field, which stands before the first point of its name; `words` are the spellings of it. `keys`: the
    keys that may follow; None: any key may."""

    name: str
    words: tuple[str, ...]
    rule: Rule | None = None
    keys: Mapping[str, Rule] | None = None
    orders: bool = True  # may be in order_by

    def rule_of(self, key: str) -> Rule | None:
        """The rule for a key; None if there is no such key."""
        return self.rule if self.keys is None else self.keys.get(key)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The language of one kind of entity. `order_keys`: the attributes to order by, with the fields that they stand
    for. `may_repeat_orders`: of a field that is repeated in an order, the first counts; otherwise it is refused.
    `functions`: the kinds of functions such as min(metrics.x), whose argument is a metric."""

    name: str
    kinds: tuple[Kind, ...]
    order_keys: Mapping[str, str]
    may_repeat_orders: bool = False
    functions: Mapping[str, Kind] = field(default_factory=dict)
    by_word: Mapping[str, Kind] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_word", {word: kind for kind in self.kinds for word in kind.words})

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def attributes(self) -> Kind:
        """The kind of a name without a point."""
        return self.by_word["attribute"]


_ANY_TEXT = Rule(_TEXTS)
_LIKE_TEXT = Rule(_LIKENESS)
_TIME = Rule(_NUMBERS, ValueType.WHOLE_OR_FRACTION)
_WHOLE_TIME = Rule(_NUMBERS, ValueType.WHOLE)
_START_TIME = Rule(_NUMBERS, ValueType.WHOLE_OR_FRACTION, alias_of="start_time")
_RUN_NAME = Rule(_LIKENESS, alias_of="run_name")
_REGISTRY_TAGS = Kind("tag", ("tag", "tags"), _LIKE_TEXT, orders=False)

# The lowest and the highest value of a metric over all of its points.
_LEAST = Kind("minimum", (), Rule(_NUMBERS, ValueType.NUMBER))
_GREATEST = Kind("maximum", (), Rule(_NUMBERS, ValueType.NUMBER))
# The kinds that are read from points; the others are stored with the run.
OF_POINTS = frozenset({"metric", "minimum", "maximum"})

RUNS = Dialect(
    "runs",
    (
        Kind("metric", ("metric", "metrics"), Rule(_NUMBERS, ValueType.NUMBER)),
        Kind("parameter", ("parameter", "parameters", "param", "params"), Rule(_LIKENESS | _PRESENCE)),
        Kind("tag", ("tag", "tags"), Rule(_LIKENESS | _PRESENCE)),
        Kind(
            "attribute",
            ("attribute", "attributes", "attr", "run"),
            keys={
                "run_id": _ANY_TEXT,
                "run_name": _LIKE_TEXT,
                "run name": _RUN_NAME,
                "Run name": _RUN_NAME,
                "Run Name": _RUN_NAME,
                "status": _LIKE_TEXT,
                "user_id": _LIKE_TEXT,
                "artifact_uri": _LIKE_TEXT,
                "start_time": _TIME,
                "created": _START_TIME,
                "Created": _START_TIME,
                "end_time": _TIME,
            },
        ),
        Kind(
            "dataset",
            ("dataset", "datasets"),
            keys={"name": _ANY_TEXT, "digest": _ANY_TEXT, "context": _ANY_TEXT},
            orders=False,
        ),
    ),
    order_keys={
        **{key: key for key in ("run_id", "run_name", "status", "user_id", "artifact_uri", "start_time", "end_time")},
        "created": "start_time",
        "Created": "start_time",
    },
    functions={"min": _LEAST, "max": _GREATEST},
)

EXPERIMENTS = Dialect(
    "experiments",
    (
        Kind(
            "attribute",
            ("attribute",),
            keys={
                "name": _LIKE_TEXT,
                "experiment_id": Rule(_MEMBERSHIP, ValueType.QUOTED_WHOLE),
                "creation_time": _WHOLE_TIME,
                "last_update_time": _WHOLE_TIME,
            },
        ),
        Kind("tag", ("tag", "tags"), Rule(_LIKENESS | _PRESENCE), orders=False),
    ),
    order_keys={key: key for key in ("name", "experiment_id", "creation_time", "last_update_time")},
    may_repeat_orders=True,
)

REGISTERED_MODELS = Dialect(
    "registered models",
    (Kind("attribute", ("attribute",), keys={"name": _ANY_TEXT}), _REGISTRY_TAGS),
    order_keys={
        "name": "name",
        "timestamp": "last_updated_timestamp",
        "last_updated_timestamp": "last_updated_timestamp",
    },
)

MODEL_VERSIONS = Dialect(
    "model versions",
    (
        Kind(
            "attribute",
            ("attribute",),
            keys={
                "name": _ANY_TEXT,
                "run_id": _ANY_TEXT,
                "source_path": _LIKE_TEXT,
                "version_number": Rule(_NUMBERS, ValueType.WHOLE, also_quoted=True),
            },
        ),
        _REGISTRY_TAGS,
    ),
    order_keys={key: key for key in ("name", "version_number", "creation_timestamp", "last_updated_timestamp")},
)

_CREATION = Rule(_NUMBERS, ValueType.NUMBER, alias_of="creation_timestamp")
_LAST_UPDATE = Rule(_NUMBERS, ValueType.NUMBER, alias_of="last_updated_timestamp")

LOGGED_MODELS = Dialect(
    "logged models",
    (
        Kind("metric", ("metrics",), Rule(_NUMBERS, ValueType.NUMBER)),
        Kind("parameter", ("params",), _ANY_TEXT, orders=False),
        Kind("tag", ("tags",), _ANY_TEXT, orders=False),
        Kind(
            "attribute",
            ("attributes", "attribute"),
            keys={
                **dict.fromkeys(("name", "model_id", "model_type", "status", "source_run_id"), _ANY_TEXT),
                "creation_timestamp": _CREATION,
                "creation_timestamp_ms": _CREATION,
                "creation_time": _CREATION,
                "last_updated_timestamp": _LAST_UPDATE,
                "last_updated_timestamp_ms": _LAST_UPDATE,
                "last_updated_time": _LAST_UPDATE,
            },
        ),
    ),
    order_keys={
        **{key: key for key in ("name", "model_id", "model_type", "status", "source_run_id")},
        "creation_timestamp": "creation_timestamp",
        "creation_timestamp_ms": "creation_timestamp",
        "creation_time": "creation_timestamp",
        "last_updated_timestamp": "last_updated_timestamp",
        "last_updated_timestamp_ms": "last_updated_timestamp",
        "last_updated_time": "last_updated_timestamp",
    },
)
