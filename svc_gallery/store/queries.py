"""Owns every statement on the schema `gallery`.

Each names the account although row-level security would do without: the index needs it, and two locks are better than
one.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from svc_gallery.domain.images import ImageCursor, image_id_taken
from svc_gallery.store.models import Image

_IMAGE_ID_KEY: Final = "images_pkey"
# Built once, since every job waits for them.
_INSERT: Final = insert(Image.__table__)  # type: ignore[arg-type]
_CLAIM: Final = _INSERT.on_conflict_do_nothing(index_elements=[Image.job_id, Image.position]).returning(Image.image_id)


async def insert_job(session: AsyncSession, images: Sequence[Image]) -> bool:
    """Inserts the pictures of one job, in their order, and tells whether they were new; else nothing is changed.

    The first picture decides between racing calls: `UNIQUE (job_id, position)` lets the second of them wait until the
    transaction of the first has ended, and then it finds the place taken. Raises INVALID_FIELD, after which the
    transaction can only be rolled back, when a picture of another job has one of the ids.
    """
    first, *others = map(_columns_of, images)
    try:
        if await session.scalar(_CLAIM, first) is None:
            return False
        if others:
            await session.execute(_INSERT, others)
    except IntegrityError as error:
        if _violated_constraint(error) == _IMAGE_ID_KEY:
            raise image_id_taken() from error
        raise
    return True


async def list_ids_of_job(session: AsyncSession, account_id: UUID, job_id: UUID) -> Sequence[UUID]:
    """Returns the ids of a job's pictures, in the order of the job."""
    is_of_job = (Image.account_id == account_id) & (Image.job_id == job_id)
    return (await session.scalars(select(Image.image_id).where(is_of_job).order_by(Image.position))).all()


async def list_images(
    session: AsyncSession, account_id: UUID, *, job_id: UUID | None, after: ImageCursor | None, limit: int
) -> Sequence[Image]:
    """Returns at most `limit` pictures of an account, newest first, from a place in the list on.

    Pictures that come in meanwhile stand before any place handed out earlier, so that a walk neither skips nor repeats.
    """
    statement = select(Image).where(Image.account_id == account_id)
    if job_id is not None:
        statement = statement.where(Image.job_id == job_id)
    if after is not None:
        place = tuple_(Image.create_time, Image.image_id)
        statement = statement.where(place < (after.create_time, after.image_id))
    newest_first = statement.order_by(Image.create_time.desc(), Image.image_id.desc()).limit(limit)
    return (await session.scalars(newest_first)).all()


async def find_image(session: AsyncSession, account_id: UUID, image_id: UUID) -> Image | None:
    """Returns a picture of an account."""
    is_the_one = (Image.image_id == image_id) & (Image.account_id == account_id)
    return await session.scalar(select(Image).where(is_the_one))


def _violated_constraint(error: IntegrityError) -> str | None:
    # SQLAlchemy wraps asyncpg's error, which knows the name.
    return getattr(getattr(error.orig, "__cause__", None), "constraint_name", None)


def _columns_of(image: Image) -> dict[str, Any]:
    return {column.key: getattr(image, column.key) for column in Image.__table__.columns}
