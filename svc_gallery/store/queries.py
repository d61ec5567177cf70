"""Owns every statement on the schema `gallery`.

Each names the account although row-level security would do without: the index needs it, and two locks are better than
one.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import bindparam, delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.statements import Direct, Statement
from svc_gallery.domain.images import ImageCursor, image_id_taken
from svc_gallery.store.models import Image

_IMAGE_ID_KEY: Final = "images_pkey"
_columns: Final = Image.__table__.columns
# SQLAlchemy keeps the plain names of columns for itself.
_insert: Final = insert(Image).values({column.key: bindparam(f"new_{column.key}") for column in _columns})
_INSERT: Final = Statement(_insert)
_CLAIM: Final = Statement(
    _insert.on_conflict_do_nothing(index_elements=[Image.job_id, Image.position]).returning(Image.image_id)
)
_IDS_OF_JOB: Final = Statement(
    select(Image.image_id)
    .where(Image.account_id == bindparam("account_id"), Image.job_id == bindparam("job_id"))
    .order_by(Image.position)
)


async def insert_job(direct: Direct, images: Sequence[Image]) -> bool:
    """Inserts the pictures of one job, in their order, and tells whether they were new; else nothing is changed.

    The first picture decides between racing calls: `UNIQUE (job_id, position)` lets the second of them wait until the
    transaction of the first has ended, and then it finds the place taken. Raises INVALID_FIELD, after which the
    transaction can only be rolled back, when a picture of another job has one of the ids.
    """
    first, *others = map(_parameters_of, images)
    try:
        if await direct.fetch_one(_CLAIM, first) is None:
            return False
        for other in others:
            await direct.fetch(_INSERT, other)
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == _IMAGE_ID_KEY:
            raise image_id_taken() from error
        raise
    return True


async def list_ids_of_job(direct: Direct, account_id: UUID, job_id: UUID) -> Sequence[UUID]:
    """Returns the ids of a job's pictures, in the order of the job."""
    rows = await direct.fetch(_IDS_OF_JOB, {"account_id": account_id, "job_id": job_id})
    return [row["image_id"] for row in rows]


async def delete_job(session: AsyncSession, account_id: UUID, job_id: UUID) -> None:
    """Deletes the pictures of one job, if it has any."""
    await session.execute(delete(Image).where(Image.account_id == account_id, Image.job_id == job_id))


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


def _parameters_of(image: Image) -> dict[str, Any]:
    return {f"new_{column.key}": getattr(image, column.key) for column in _columns}
