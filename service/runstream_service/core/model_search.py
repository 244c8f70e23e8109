"""Searches the model registry: turns a filter, an order and a page into a statement.

Pages use an offset, as in MLflow: a registry is small, and it is ordered by fields that change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_service.core.pages import make_offset_token, read_offset_token
from runstream_service.errors.core import InvalidField
from runstream_service.search.conditions import Comparison, comparisons_of
from runstream_service.search.dialects import MODEL_VERSIONS, REGISTERED_MODELS, Dialect
from runstream_service.search.grammar import parse_order_by, read_filter
from runstream_service.search.sql import (
    Parameters,
    condition_sql,
    conjunction,
    keyed_condition,
    order_term,
    text_condition,
    whole_condition,
)

if TYPE_CHECKING:
    import asyncpg

    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database
    from runstream_service.search.conditions import And, Condition
    from runstream_service.search.grammar import Order

# A prompt is a registered model with this tag. Searches find only models, unless the filter uses this tag.
IS_PROMPT = "mlflow.prompt.is_prompt"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryQuery:
    """The arguments of a search. `max_results` is the number of entries of a page."""

    filter: str = ""
    order_by: Sequence[str] = ()
    max_results: int
    page_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Area:
    """What a search is for: registered models or versions. In the statement, `view` has the alias d."""

    dialect: Dialect
    view: str
    max_results: int
    tags: str  # after FROM: the tags of an entry
    prompt_tags: str  # after FROM: the tags among which the one of prompts may be
    order_by: tuple[str, ...]  # used if the caller has no order
    ties: tuple[str, ...]  # appended to the caller's order


MODELS = _Area(
    dialect=REGISTERED_MODELS,
    view="registered_model_details",
    max_results=1_000,
    tags="registered_model_tags t WHERE t.registered_model_id = d.registered_model_id",
    prompt_tags="registered_model_tags t WHERE t.registered_model_id = d.registered_model_id",
    order_by=(),
    ties=("name ASC",),
)
VERSIONS = _Area(
    dialect=MODEL_VERSIONS,
    view="model_version_details",
    max_results=200_000,
    tags="model_version_tags t WHERE t.registered_model_id = d.registered_model_id AND t.version = d.version",
    # Tags of any version count, as in MLflow.
    prompt_tags="model_version_tags t WHERE t.registered_model_id = d.registered_model_id",
    order_by=("last_updated_timestamp DESC",),
    ties=("name ASC", "version_number DESC"),
)

_TEXTS = {"name": "d.name", "run_id": "d.run_id", "source_path": "d.source"}
# Times to the millisecond, as MLflow stores them: within a millisecond, the next field decides.
_ORDERED = {
    "name": "d.name",
    "version_number": "d.version",
    "creation_timestamp": "date_trunc('milliseconds', d.created_at)",
    "last_updated_timestamp": "date_trunc('milliseconds', d.updated_at)",
}


async def search(
    database: Database, caller: Caller, area: _Area, asked: RegistryQuery
) -> tuple[list[asyncpg.Record], str]:
    """One page of rows of the area's view, and the token of the next page (empty on the last page).

    Raises:
        InvalidField.
    """
    if asked.max_results < 1:
        raise InvalidField(
            f"Invalid value for max_results. It must be a positive integer, but got {asked.max_results}",
            field="max_results",
        )
    if asked.max_results > area.max_results:
        raise InvalidField(
            f"max_results: {asked.max_results} is more than {area.max_results}, the most", field="max_results"
        )
    offset = read_offset_token(asked.page_token, of=area.dialect.name)
    parameters = Parameters(caller.workspace_id)
    conditions = conjunction(_conditions(area, await read_filter(asked.filter, area.dialect), parameters))
    rows = await database.fetch(
        f"SELECT d.* FROM {area.view} d WHERE d.workspace_id = $1 AND {conditions}"  # noqa: S608  # the grammar's, with parameters
        f" ORDER BY {', '.join(_order_terms(area, asked.order_by))}"
        f" LIMIT {parameters.add(asked.max_results + 1, 'bigint')} OFFSET {parameters.add(offset, 'bigint')}",
        *parameters.values,
    )
    if len(rows) <= asked.max_results:
        return rows, ""
    return rows[:-1], make_offset_token(of=area.dialect.name, offset=offset + asked.max_results)


def _conditions(area: _Area, wanted: And, parameters: Parameters) -> list[str]:
    parts, also_prompts = _with_prompts_or_without(wanted)
    conditions = [condition_sql(part, lambda one: _condition(area, one, parameters)) for part in parts]
    if also_prompts:
        return conditions
    key, value = parameters.add(IS_PROMPT, "text"), parameters.add("true", "text")
    return [*conditions, f"NOT EXISTS (SELECT FROM {area.prompt_tags} AND t.key = {key} AND t.value = {value})"]


def _condition(area: _Area, one: Comparison, parameters: Parameters) -> str:
    if one.kind == "tag":
        return keyed_condition(area.tags, one, parameters)
    if one.key == "version_number":
        return whole_condition("d.version", one.operator, one.value, parameters)
    return text_condition(_TEXTS[one.key], one.operator, one.value, parameters)


def _with_prompts_or_without(wanted: And) -> tuple[Sequence[Condition], bool]:
    """The conditions to evaluate, and whether prompts are found, too. The first comparison with the tag decides:
    MLflow's UI writes `= 'true'` for prompts, and `!= 'true'` for models. Within an OR or NOT, the tag is compared like
    any other."""
    about = [part for part in wanted.parts if isinstance(part, Comparison) and _is_about_prompts(part)]
    if about and (about[0].operator, str(about[0].value).lower()) not in (("=", "true"), ("!=", "false")):
        return [part for part in wanted.parts if part not in about], False
    return wanted.parts, any(map(_is_about_prompts, comparisons_of(wanted)))


def _is_about_prompts(one: Comparison) -> bool:
    return one.kind == "tag" and one.key == IS_PROMPT


def _order_terms(area: _Area, order_by: Sequence[str]) -> list[str]:
    orders = parse_order_by(order_by or area.order_by, area.dialect)
    named = {order.key for order in orders}
    ties = [order for order in parse_order_by(area.ties, area.dialect) if order.key not in named]
    return [_order_term(order) for order in [*orders, *ties]]


def _order_term(order: Order) -> str:
    return order_term(_ORDERED[order.key], descending=order.descending, is_text=order.key == "name")
