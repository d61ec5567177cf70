"""Owns every statement on the schema `gallery`.

Each names the account although row-level security would do without: the index needs it, and two locks are better than
one.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    MetaData,
    Row,
    Select,
    Text,
    bindparam,
    cast,
    delete,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import TSQUERY, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from svc_common.statements import Direct, Statement
from svc_gallery.domain.images import ImageCursor, ImageFilter, image_id_taken
from svc_gallery.domain.search import searched_for
from svc_gallery.store.models import BoardImage, Image, Storage

_IMAGE_ID_KEY: Final = "images_pkey"
# The others are the owner's to fill.
_imported: Final = [
    column
    for column in Image.__table__.columns
    if (column.server_default is None and not column.nullable) or column.key in {"operation", "parent_image_id"}
]
# SQLAlchemy keeps the plain names of columns for itself.
_insert: Final = insert(Image).values(
    {
        **{column.key: bindparam(f"new_{column.key}") for column in _imported},
        "search": func.array_to_tsvector(bindparam("new_lexemes", type_=ARRAY(Text))),
    }
)
_INSERT: Final = Statement(_insert)
_CLAIM: Final = Statement(
    _insert.on_conflict_do_nothing(index_elements=[Image.job_id, Image.position]).returning(Image.image_id)
)
_IDS_OF_JOB: Final = Statement(
    select(Image.image_id)
    .where(Image.account_id == bindparam("account_id"), Image.job_id == bindparam("job_id"))
    .order_by(Image.position)
)

_own_images: Final = Image.__table__.to_metadata(MetaData(), name="own_images")  # type: ignore[attr-defined]
_Searchable: Final = aliased(Image, _own_images, adapt_on_names=True)
"""The account's own pictures by the view that can be searched; its migration says why there is one."""


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


async def find_ids_of_job(session: AsyncSession, account_id: UUID, job_id: UUID) -> Sequence[UUID]:
    """Returns the ids of a job's pictures."""
    of_job = (Image.account_id == account_id) & (Image.job_id == job_id)
    return (await session.scalars(select(Image.image_id).where(of_job))).all()


async def delete_images_of_job(session: AsyncSession, account_id: UUID, job_id: UUID) -> None:
    """Deletes the pictures of one job, if it has any. Their boards must be held."""
    await session.execute(delete(Image).where(Image.account_id == account_id, Image.job_id == job_id))


async def list_images(
    session: AsyncSession,
    account_id: UUID,
    image_filter: ImageFilter,
    *,
    after: ImageCursor | None,
    limit: int,
    now: datetime,
) -> Sequence[Image]:
    """Returns at most `limit` pictures of an account, newest first, from a place in the list on.

    Pictures that come in meanwhile stand before any place handed out earlier, so that a walk neither skips nor repeats.
    """
    statement = list_statement(account_id, image_filter, after=after, limit=limit, now=now)
    return (await session.scalars(statement)).all()


def list_statement(
    account_id: UUID, image_filter: ImageFilter, *, after: ImageCursor | None, limit: int, now: datetime
) -> Select[Image]:
    """Returns the statement of `list_images`."""
    shown: Any = _Searchable if image_filter.search else Image
    statement = select(shown).where(shown.account_id == account_id, *_conditions(shown, image_filter, now))
    time, image_id = shown.create_time, shown.image_id
    if image_filter.board_id is not None:
        # In the order of the board's index, which holds the same times and ids.
        time, image_id = BoardImage.image_create_time, BoardImage.image_id
        statement = statement.join(BoardImage, BoardImage.image_id == shown.image_id).where(
            BoardImage.account_id == account_id, BoardImage.board_id == image_filter.board_id
        )
    if after is not None:
        statement = statement.where(tuple_(time, image_id) < (after.create_time, after.image_id))
    return statement.order_by(time.desc(), image_id.desc()).limit(limit)


async def find_image(session: AsyncSession, account_id: UUID, image_id: UUID) -> Image | None:
    """Returns a picture of an account that isn't in the bin."""
    return await session.scalar(select(Image).where(_one(account_id, image_id), Image.delete_time.is_(None)))


async def find_image_or_deleted(session: AsyncSession, account_id: UUID, image_id: UUID, now: datetime) -> Image | None:
    """Returns a picture of an account, also one in the bin."""
    return await session.scalar(select(Image).where(_one(account_id, image_id), _is_there(now)))


async def shown_images(session: AsyncSession, account_id: UUID, image_ids: Collection[UUID]) -> Collection[UUID]:
    """Returns the ids of those pictures of an account that are there and not in the bin."""
    there = (Image.account_id == account_id) & Image.image_id.in_(image_ids) & Image.delete_time.is_(None)
    return set((await session.scalars(select(Image.image_id).where(there))).all())


async def lock_image(session: AsyncSession, account_id: UUID, image_id: UUID) -> Image | None:
    """Returns a picture of an account that isn't in the bin, which nobody else changes until the transaction ends."""
    statement = select(Image).where(_one(account_id, image_id), Image.delete_time.is_(None))
    return await session.scalar(statement.with_for_update())


async def write_search(session: AsyncSession, account_id: UUID, image_id: UUID, lexemes: Sequence[str]) -> None:
    """Sets what a picture of an account is found by."""
    vector = func.array_to_tsvector(bindparam("lexemes", lexemes, type_=ARRAY(Text)))
    await session.execute(update(Image).where(_one(account_id, image_id)).values(search=vector))


async def star_images(
    session: AsyncSession, account_id: UUID, image_ids: Sequence[UUID], *, starred: bool
) -> Collection[UUID]:
    """Stars pictures of an account, or takes their stars, and returns the ids of those that are there."""
    return await _change(session, account_id, image_ids, Image.delete_time.is_(None), starred=starred)


async def delete_images(
    session: AsyncSession, account_id: UUID, image_ids: Sequence[UUID], now: datetime, purge_time: datetime
) -> Collection[UUID]:
    """Puts pictures of an account into the bin until `purge_time`, and returns the ids of those that are there.

    Those that are in it stay until then at most.
    """
    times = {
        "delete_time": func.coalesce(Image.delete_time, now),
        "purge_time": func.least(Image.purge_time, purge_time),
    }
    return await _change(session, account_id, image_ids, _is_there(now), **times)


async def restore_images(
    session: AsyncSession, account_id: UUID, image_ids: Sequence[UUID], now: datetime
) -> Collection[UUID]:
    """Takes pictures of an account out of the bin, and returns the ids of those that are there or were not in it."""
    return await _change(session, account_id, image_ids, _is_there(now), delete_time=None, purge_time=None)


async def list_purged(session: AsyncSession, now: datetime, limit: int) -> Sequence[Row[UUID, UUID]]:
    """Returns account and id of pictures of all accounts that are gone for good, the longest first; for tasks."""
    statement = select(Image.account_id, Image.image_id).where(Image.purge_time <= now)
    return (await session.execute(statement.order_by(Image.purge_time).limit(limit))).all()


async def delete_purged(session: AsyncSession, image_ids: Sequence[UUID], now: datetime) -> None:
    """Deletes the rows of pictures of any account that are gone for good; for tasks."""
    await session.execute(delete(Image).where(Image.image_id.in_(image_ids), Image.purge_time <= now))


async def _change(
    session: AsyncSession, account_id: UUID, image_ids: Sequence[UUID], condition: ColumnElement[bool], **values: Any
) -> Collection[UUID]:
    statement = update(Image).where(Image.account_id == account_id, Image.image_id.in_(image_ids), condition)
    # In the order of the ids: two calls for the same pictures lock them in the same order.
    locked = select(Image.image_id).where(Image.account_id == account_id, Image.image_id.in_(image_ids))
    await session.execute(locked.order_by(Image.image_id).with_for_update())
    returning = statement.values(values).returning(Image.image_id).execution_options(synchronize_session=False)
    return set((await session.scalars(returning)).all())


def _conditions(shown: Any, image_filter: ImageFilter, now: datetime) -> Iterator[ColumnElement[bool]]:
    if image_filter.in_bin:
        yield shown.delete_time.is_not(None)
        yield shown.purge_time > now
    else:
        yield shown.delete_time.is_(None)
    if image_filter.job_id is not None:
        yield shown.job_id == image_filter.job_id
    if image_filter.search:
        yield shown.search.op("@@")(cast(image_filter.search, TSQUERY))
    if image_filter.starred_only:
        yield shown.starred
    if image_filter.model_id:
        yield shown.model_id == image_filter.model_id
    if image_filter.min_rating:
        # As it stands in the index's condition, which the planner doesn't conclude from a parameter.
        yield shown.rating > literal_column("0")
        yield shown.rating >= image_filter.min_rating
    if image_filter.uncategorised:
        # Correlated by name: a list of a board reads the same table once more.
        yield ~select(BoardImage.image_id).where(BoardImage.image_id == shown.image_id).correlate(shown).exists()
    if image_filter.create_time_from is not None:
        yield shown.create_time >= image_filter.create_time_from
    if image_filter.create_time_until is not None:
        yield shown.create_time < image_filter.create_time_until


def _one(account_id: UUID, image_id: UUID) -> ColumnElement[bool]:
    return (Image.image_id == image_id) & (Image.account_id == account_id)


def _is_there(now: datetime) -> ColumnElement[bool]:
    return or_(Image.purge_time.is_(None), Image.purge_time > now)


async def stored_bytes(session: AsyncSession, account_id: UUID) -> int:
    """Returns how many bytes the pictures of an account take."""
    return await session.scalar(select(Storage.image_bytes).where(Storage.account_id == account_id)) or 0


def _parameters_of(image: Image) -> dict[str, Any]:
    lexemes = searched_for(image.account_id, [image.prompt], [])
    return {"new_lexemes": lexemes, **{f"new_{column.key}": getattr(image, column.key) for column in _imported}}
