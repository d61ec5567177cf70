"""Owns every statement on the schema `models`."""

import dataclasses
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from svc_models.domain.manifest import Manifest
from svc_models.store.models import ModelRevision


async def lock_catalogue(session: AsyncSession) -> None:
    """Waits until no other process writes the catalogue, and keeps it to the transaction until its end.

    Waiting rather than turning away: a replica that starts beside another must not serve before the catalogue is there.
    """
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("models.catalogue", 0))))


async def list_served(session: AsyncSession) -> Sequence[ModelRevision]:
    """Returns the served revision of each model, in the order of the models' ids."""
    # "C" orders by code point, as the servicer does when it looks for the place of a page token.
    order = ModelRevision.model_id.collate("C")
    return (await session.scalars(select(ModelRevision).where(ModelRevision.is_served).order_by(order))).all()


async def find_revision(session: AsyncSession, model_id: str, revision: str) -> ModelRevision | None:
    """Returns a revision, served or not; None when the catalogue never had it."""
    return await session.get(ModelRevision, (model_id, revision))


async def find_revisions(session: AsyncSession, manifests: Collection[Manifest]) -> Sequence[ModelRevision]:
    """Returns the rows that have model and revision of one of the manifests."""
    keys = [(manifest.model_id, manifest.revision) for manifest in manifests]
    is_among = tuple_(ModelRevision.model_id, ModelRevision.revision).in_(keys)
    return (await session.scalars(select(ModelRevision).where(is_among))).all()


async def withdraw(session: AsyncSession, model_ids: Collection[str]) -> None:
    """Takes all revisions of these models, and the default wherever it is, back until `upsert` names new ones."""
    is_default = ModelRevision.is_default
    await session.execute(update(ModelRevision).where(is_default).values(is_default=False))
    is_served = ModelRevision.is_served & ModelRevision.model_id.in_(model_ids)
    await session.execute(update(ModelRevision).where(is_served).values(is_served=False))


async def upsert(
    session: AsyncSession, manifest: Manifest, *, is_served: bool, is_default: bool, now: datetime
) -> None:
    """Puts a revision into the catalogue, or updates it to what its manifest says now."""
    row = {**_columns_of(manifest), "is_served": is_served, "is_default": is_default, "create_time": now}
    statement = insert(ModelRevision).values(row)
    changes = {name: statement.excluded[name] for name in row if name != "create_time"}
    key = [ModelRevision.model_id, ModelRevision.revision]
    await session.execute(statement.on_conflict_do_update(index_elements=key, set_=changes))


def has_files_of(row: ModelRevision, manifest: Manifest) -> bool:
    """Tells whether a row lists the files that the manifest lists."""
    return row.files == _files_of(manifest)


def _columns_of(manifest: Manifest) -> dict[str, Any]:
    return dataclasses.asdict(manifest) | {
        "minimum_tier": manifest.minimum_tier.label,
        "kind": manifest.kind.label,
        "operations": list(manifest.operations),
        "schedulers": list(manifest.schedulers),
        "trigger_words": list(manifest.trigger_words),
        "files": _files_of(manifest),
    }


def _files_of(manifest: Manifest) -> list[dict[str, Any]]:
    return [dataclasses.asdict(file) for file in manifest.files]
