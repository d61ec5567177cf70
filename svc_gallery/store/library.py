"""Owns the statements that count what an account's gallery holds as a whole."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from svc_gallery.store.models import Image


async def count_images(session: AsyncSession, account_id: UUID) -> tuple[int, int]:
    """Returns how many pictures of an account aren't in the bin, and how many are."""
    of_account = select(func.count()).select_from(Image).where(Image.account_id == account_id)
    shown = await session.scalar(of_account.where(Image.delete_time.is_(None)))
    in_bin = await session.scalar(of_account.where(Image.delete_time.is_not(None)))
    return shown or 0, in_bin or 0


async def list_tags(session: AsyncSession, account_id: UUID, *, after: str, limit: int) -> Sequence[Row[str, str, int]]:
    """Returns at most `limit` tags of an account behind a place: what orders each, its usual spelling, and its pictures."""
    # As it stands in the index's condition: most pictures have no tags.
    tagged = (
        select(Image.image_id, func.unnest(Image.tags).label("tag"))
        .where(Image.account_id == account_id, Image.delete_time.is_(None), Image.tags != [])
        .subquery()
    )
    place = func.lower(tagged.c.tag).collate("C")
    statement = (
        select(
            place.label("place"),
            func.mode().within_group(tagged.c.tag).label("tag"),
            func.count(tagged.c.image_id.distinct()).label("image_count"),
        )
        .where(place > after)
        .group_by(place)
        .order_by(place)
        .limit(limit)
    )
    return (await session.execute(statement)).all()
