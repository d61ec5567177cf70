"""Owns the statements that follow pictures to what they were made from, and to what was made from them."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import Integer, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from svc_gallery.store.models import Image

MOST_ANCESTORS: Final = 50
_DEEPEST: Final = 50
"""Generations of descendants: nobody edits an edit more often, and a circle, which no call makes, would end here."""


async def ancestors(session: AsyncSession, account_id: UUID, image_id: UUID) -> Sequence[Image]:
    """Returns what a picture of an account was made from, the nearest first, without what is in the bin."""
    start = (
        select(Image.parent_image_id, literal(0, Integer).label("distance"))
        .where(Image.account_id == account_id, Image.image_id == image_id)
        .cte("ancestors", recursive=True)
    )
    further = (
        select(Image.parent_image_id, start.c.distance + 1)
        .join(start, Image.image_id == start.c.parent_image_id)
        .where(Image.account_id == account_id, start.c.distance < MOST_ANCESTORS - 1)
    )
    chain = start.union_all(further)
    statement = select(Image).join(chain, Image.image_id == chain.c.parent_image_id)
    shown = statement.where(Image.account_id == account_id, Image.delete_time.is_(None))
    return (await session.scalars(shown.order_by(chain.c.distance))).all()


async def descendants(session: AsyncSession, account_id: UUID, image_id: UUID, limit: int) -> Sequence[Image]:
    """Returns at most `limit` pictures of an account that were made from one, or from those in turn, newest first."""
    start = (
        select(Image.image_id, literal(1, Integer).label("depth"))
        .where(Image.account_id == account_id, Image.parent_image_id == image_id)
        .cte("descendants", recursive=True)
    )
    child = aliased(Image)
    further = (
        select(child.image_id, start.c.depth + 1)
        .join(start, child.parent_image_id == start.c.image_id)
        .where(child.account_id == account_id, start.c.depth < _DEEPEST)
    )
    family = start.union_all(further)
    ids = select(family.c.image_id).distinct()
    shown = select(Image).where(
        Image.account_id == account_id,
        Image.image_id.in_(ids),
        Image.image_id != image_id,
        Image.delete_time.is_(None),
    )
    ordered = shown.order_by(Image.create_time.desc(), Image.image_id.desc()).limit(limit)
    return (await session.scalars(ordered)).all()
