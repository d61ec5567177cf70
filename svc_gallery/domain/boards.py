"""Owns what a board may be called, how many an account may have, and that boards never lie inside themselves."""

import hashlib
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from svc_common.errors import Reason, ServiceError, invalid_field

BOARDS_OF_AN_ACCOUNT: Final = 1000


def clean_name(name: str) -> str:
    """Returns a name without the blanks around it.

    Raises:
        ServiceError: INVALID_FIELD, when nothing is left.
    """
    clean = name.strip()
    if not clean:
        raise invalid_field("name", "must not be blank")
    return clean


def request_hash(name: str, parent_board_id: UUID | None) -> bytes:
    """Returns by what a repeated creation is recognised, though the board was renamed or moved since."""
    return hashlib.sha256(f"{parent_board_id or ''}\0{name}".encode()).digest()


def check_board_room(board_count: int) -> None:
    """Refuses one board more than an account may have.

    Raises:
        ServiceError: TOO_MANY_BOARDS.
    """
    if board_count >= BOARDS_OF_AN_ACCOUNT:
        raise ServiceError(
            Reason.TOO_MANY_BOARDS,
            f"Your account has {BOARDS_OF_AN_ACCOUNT} boards already. Delete one, archived ones included.",
            metadata={"limit": str(BOARDS_OF_AN_ACCOUNT)},
        )


def check_parent(board_id: UUID, parent_board_id: UUID, parents: Mapping[UUID, UUID | None]) -> None:
    """Refuses a place for a board that isn't there, or that lies inside the board itself.

    `parents` tells of each board of the account where it lies.

    Raises:
        ServiceError: BOARD_NOT_FOUND or INVALID_FIELD.
    """
    if parent_board_id not in parents:
        raise board_not_found(parent_board_id)
    above: UUID | None = parent_board_id
    while above is not None:
        if above == board_id:
            raise invalid_field("parent_board_id", "must be neither the board itself nor a board inside it")
        above = parents[above]


def check_move(to_board_id: UUID | None, from_board_id: UUID | None) -> None:
    """Refuses a move that leads nowhere.

    Raises:
        ServiceError: INVALID_FIELD.
    """
    if to_board_id is None and from_board_id is None:
        raise invalid_field("to_board_id", "must be given, unless from_board_id is")
    if to_board_id == from_board_id:
        raise invalid_field("to_board_id", "must be another board than from_board_id")


def board_not_found(board_id: UUID) -> ServiceError:
    """Returns the answer for a board that isn't there, or isn't the caller's: the two can't be told apart."""
    return ServiceError(
        Reason.BOARD_NOT_FOUND,
        f"There is no board {board_id} in your account; ListBoards shows what there is.",
        metadata={"board_id": str(board_id)},
    )
