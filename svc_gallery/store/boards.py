"""Owns every statement on the boards of the schema `gallery`; like those on pictures, each names the account.

Whoever changes what lies on boards locks the boards first and then the pictures, each in the order of their ids: calls
that cross each other wait instead of deadlocking, and a board that is being deleted takes nothing more in.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, func, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common import db
from svc_gallery.domain.boards import board_not_found
from svc_gallery.store.models import Board, BoardImage, Image

_newest: Final = (
    select(BoardImage.image_id)
    .join(Image, Image.image_id == BoardImage.image_id)
    .where(
        BoardImage.account_id == Board.account_id, BoardImage.board_id == Board.board_id, Image.delete_time.is_(None)
    )
    .order_by(BoardImage.image_create_time.desc(), BoardImage.image_id.desc())
    .limit(1)
    .correlate(Board)
    .scalar_subquery()
)
_chosen: Final = (
    select(Image.image_id)
    .where(Image.image_id == Board.cover_image_id, Image.delete_time.is_(None))
    .correlate(Board)
    .scalar_subquery()
)


@dataclass(frozen=True, slots=True)
class ShownBoard:
    """A board, how many pictures it shows, and the one that stands for it."""

    board: Board
    image_count: int
    cover_image_id: UUID | None


async def take_turn(session: AsyncSession, account_id: UUID) -> None:
    """Lets the calls of an account that change the tree of boards follow each other, so that what is read next stays true."""
    await db.take_turn(session, f"boards:{account_id}")


async def find_request(session: AsyncSession, account_id: UUID, request_id: str) -> Board | None:
    """Returns the board that a request id of an account has created, if it is still there."""
    is_the_one = (Board.account_id == account_id) & (Board.request_id == request_id)
    return await session.scalar(select(Board).where(is_the_one))


async def read_tree(session: AsyncSession, account_id: UUID) -> Mapping[UUID, UUID | None]:
    """Returns of each board of an account in which one it lies; they are a thousand at most."""
    rows = await session.execute(select(Board.board_id, Board.parent_board_id).where(Board.account_id == account_id))
    return {row.board_id: row.parent_board_id for row in rows}


async def find_board(session: AsyncSession, account_id: UUID, board_id: UUID) -> Board:
    """Returns a board of an account.

    Raises:
        ServiceError: BOARD_NOT_FOUND.
    """
    board = await session.scalar(select(Board).where(_one(account_id, board_id)))
    if board is None:
        raise board_not_found(board_id)
    return board


async def show_board(session: AsyncSession, account_id: UUID, board_id: UUID) -> ShownBoard:
    """Returns a board of an account with what is shown of its pictures.

    Raises:
        ServiceError: BOARD_NOT_FOUND.
    """
    shown = await _show(session, account_id, _with_cover().where(_one(account_id, board_id)))
    if not shown:
        raise board_not_found(board_id)
    return shown[0]


async def list_boards(
    session: AsyncSession,
    account_id: UUID,
    *,
    with_archived: bool,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[ShownBoard]:
    """Returns at most `limit` boards of an account, oldest first, from a place in the list on."""
    statement = _with_cover().where(Board.account_id == account_id)
    if not with_archived:
        statement = statement.where(~Board.archived)
    if after is not None:
        statement = statement.where(tuple_(Board.create_time, Board.board_id) > after)
    return await _show(session, account_id, statement.order_by(Board.create_time, Board.board_id).limit(limit))


async def delete_board(session: AsyncSession, account_id: UUID, board: Board) -> tuple[int, Sequence[UUID]]:
    """Deletes a board; returns how many pictures were on it, and which boards moved from it to where it lay."""
    # Nothing is put on it from here on, so that the count is exact.
    await session.execute(select(Board.board_id).where(_one(account_id, board.board_id)).with_for_update())
    on_board = (BoardImage.account_id == account_id) & (BoardImage.board_id == board.board_id)
    image_count = await session.scalar(select(func.count()).select_from(BoardImage).where(on_board)) or 0
    inside = update(Board).where(Board.account_id == account_id, Board.parent_board_id == board.board_id)
    moving = inside.values(parent_board_id=board.parent_board_id).returning(Board.board_id)
    moved = (await session.scalars(moving.execution_options(synchronize_session=False))).all()
    await session.execute(delete(Board).where(_one(account_id, board.board_id)))
    return image_count, moved


async def hold_boards(session: AsyncSession, account_id: UUID, board_ids: Collection[UUID]) -> None:
    """Keeps boards of an account from being deleted until the transaction ends.

    Raises:
        ServiceError: BOARD_NOT_FOUND, for the first that isn't there.
    """
    held = select(Board.board_id).where(Board.account_id == account_id, Board.board_id.in_(board_ids))
    locked = held.order_by(Board.board_id).with_for_update(read=True, key_share=True)
    found = set((await session.scalars(locked)).all())
    for board_id in board_ids:
        if board_id not in found:
            raise board_not_found(board_id)


async def hold_boards_of(session: AsyncSession, image_ids: Collection[UUID]) -> None:
    """Keeps the boards of pictures of any account from being deleted or changed until the transaction ends; for tasks.

    Before pictures are deleted, which takes them off their boards and from their covers.
    """
    lying_on = select(BoardImage.board_id).where(BoardImage.image_id.in_(image_ids))
    covering = select(Board.board_id).where(Board.cover_image_id.in_(image_ids))
    held = select(Board.board_id).where(Board.board_id.in_(lying_on.union(covering)))
    await session.execute(held.order_by(Board.board_id).with_for_update(key_share=True))


async def move_images(
    session: AsyncSession,
    account_id: UUID,
    image_ids: Sequence[UUID],
    *,
    to_board_id: UUID | None = None,
    from_board_id: UUID | None = None,
) -> Collection[UUID]:
    """Puts pictures of an account on a board, takes them from another, and returns the ids of those that are there.

    The boards must be held.
    """
    there = (Image.account_id == account_id) & Image.image_id.in_(image_ids) & Image.delete_time.is_(None)
    locked = select(Image.image_id).where(there).order_by(Image.image_id).with_for_update(key_share=True)
    found = (await session.scalars(locked)).all()
    if from_board_id is not None:
        await session.execute(delete(BoardImage).where(_on_board(account_id, from_board_id, found)))
    if to_board_id is not None:
        await session.execute(_addition(account_id, to_board_id, found))
    return set(found)


async def remove_image(session: AsyncSession, account_id: UUID, board_id: UUID, image_id: UUID) -> None:
    """Takes a picture from a board of an account, if it is on it."""
    await session.execute(delete(BoardImage).where(_on_board(account_id, board_id, [image_id])))


def _addition(account_id: UUID, board_id: UUID, image_ids: Sequence[UUID]) -> Any:
    pictures = select(literal(board_id), Image.image_id, Image.account_id, Image.create_time).where(
        Image.account_id == account_id, Image.image_id.in_(image_ids)
    )
    columns = ["board_id", "image_id", "account_id", "image_create_time"]
    return insert(BoardImage).from_select(columns, pictures).on_conflict_do_nothing()


def _with_cover() -> Select[Board, UUID | None]:
    return select(Board, func.coalesce(_chosen, _newest).label("cover_image_id"))


async def _show(session: AsyncSession, account_id: UUID, statement: Select[Board, UUID | None]) -> Sequence[ShownBoard]:
    rows = (await session.execute(statement)).all()
    # One count for all of them: counted board by board, a large gallery would be read over and over.
    counting = (
        select(BoardImage.board_id, func.count().label("image_count"))
        .join(Image, Image.image_id == BoardImage.image_id)
        .where(
            BoardImage.account_id == account_id,
            BoardImage.board_id.in_([board.board_id for board, _ in rows]),
            Image.account_id == account_id,
            Image.delete_time.is_(None),
        )
        .group_by(BoardImage.board_id)
    )
    counts = {row.board_id: row.image_count for row in await session.execute(counting)}
    return [ShownBoard(board, counts.get(board.board_id, 0), cover_image_id) for board, cover_image_id in rows]


def _one(account_id: UUID, board_id: UUID) -> ColumnElement[bool]:
    return (Board.board_id == board_id) & (Board.account_id == account_id)


def _on_board(account_id: UUID, board_id: UUID, image_ids: Sequence[UUID]) -> ColumnElement[bool]:
    on_board = (BoardImage.account_id == account_id) & (BoardImage.board_id == board_id)
    return on_board & BoardImage.image_id.in_(image_ids)
