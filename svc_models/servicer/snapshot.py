"""Owns the catalogue as this process answers from it: the served models as finished messages, in memory.

Every job asks for a model, and models change a few times a month; so nothing is read for a call, and a change is seen
by each replica a few seconds later. When the database is away, the last catalogue stays good.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
from pingvas.models.v1 import model_pb2
from pingvas.vocabulary import Tier

from svc_common.concurrency import is_set_within
from svc_common.db import Database
from svc_common.errors import ServiceError
from svc_models.domain.access import model_not_found
from svc_models.messages.catalogue import model_spec_message
from svc_models.store import queries

_log = structlog.get_logger(__name__)

_REFRESH_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class _Contents:
    """Holds one reading of the catalogue. Readers take it once, so that they never see halves of two."""

    specs: Mapping[str, model_pb2.ModelSpec] = field(default_factory=dict)
    """The served models by id, in the order of the ids."""
    default: model_pb2.ModelSpec | None = None


class CatalogueSnapshot:
    """Answers what models there are."""

    def __init__(self, database: Database) -> None:
        """Takes the database under the requests role; the catalogue is empty until the first `refresh`."""
        self._database = database
        self._contents = _Contents()

    def resolve(self, model_id: str) -> model_pb2.ModelSpec:
        """Returns a model, the default one for an empty id; raises MODEL_NOT_FOUND."""
        contents = self._contents
        spec = contents.specs.get(model_id) if model_id else contents.default
        if spec is None:
            raise model_not_found(model_id)
        return spec

    def models(self) -> Sequence[model_pb2.Model]:
        """Returns the served models in the order of their ids."""
        return [spec.model for spec in self._contents.specs.values()]

    async def refresh(self) -> None:
        """Reads the catalogue anew; raises DEPENDENCY_UNAVAILABLE when the database is away."""
        async with self._database.transaction() as transaction:
            rows = await queries.list_served(transaction)
        specs = {row.model_id: model_spec_message(row) for row in rows}
        default = next((specs[row.model_id] for row in rows if row.is_default), None)
        self._contents = _Contents(specs, default)

    async def keep_fresh(self, stopping: asyncio.Event) -> None:
        """Reads the catalogue anew every few seconds until `stopping` is set."""
        while not await is_set_within(stopping, _REFRESH_SECONDS):
            try:
                await self.refresh()
            except ServiceError as error:
                _log.warning("catalogue.refresh_failed", error=str(error))


def minimum_tier_of(model: model_pb2.Model) -> Tier:
    """Returns the lowest tier that reaches a model."""
    return Tier(model.minimum_tier)
