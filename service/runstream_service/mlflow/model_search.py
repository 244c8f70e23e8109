"""The messages of searches in the model registry."""

from __future__ import annotations

from runstream_service.core.model_search import VERSIONS, RegistryQuery
from runstream_service.mlflow.request import Int64, Message, wrong_type


class SearchModels(Message):
    """registered-models/search."""

    filter: str = ""
    max_results: Int64 = 100
    order_by: tuple[str, ...] = ()
    page_token: str = ""


class SearchVersions(SearchModels):
    """model-versions/search."""

    max_results: Int64 = VERSIONS.max_results


def checked_search(message: SearchModels, most: int) -> RegistryQuery:
    """The query of a search, for the core. Raises MlflowError if a page is to have more than `most` entries."""
    if message.max_results > most:
        raise wrong_type("max_results", str(message.max_results))
    return RegistryQuery(
        filter=message.filter,
        order_by=message.order_by,
        max_results=message.max_results,
        page_token=message.page_token,
    )
