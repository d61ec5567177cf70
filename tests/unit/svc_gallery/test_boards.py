"""The rules of boards, and how a list of them reads as a tree."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pingvas.gallery.v1.board_pb2 import Board

from studio.cli.boards import in_tree
from svc_common.errors import Reason, ServiceError
from svc_gallery.domain.boards import check_board_room, check_parent, clean_name, request_hash


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=60))
def test_boards_stay_a_forest_whatever_is_moved(moves: list[tuple[int, int]]) -> None:
    ids = [UUID(int=number) for number in range(1, 11)]
    parents: dict[UUID, UUID | None] = dict.fromkeys(ids)
    for board, place in moves:
        try:
            check_parent(ids[board], ids[place], parents)
        except ServiceError:
            assert ids[board] in above(ids[place], parents)
        else:
            parents[ids[board]] = ids[place]
        assert all(len(set(path)) == len(path) for path in (above(board_id, parents) for board_id in ids))


def above(board_id: UUID, parents: dict[UUID, UUID | None]) -> list[UUID]:
    """Returns a board and those that it lies in, as far as ten go."""
    path: list[UUID] = []
    at: UUID | None = board_id
    while at is not None and len(path) <= len(parents):
        path.append(at)
        at = parents[at]
    return path


def test_place_that_isnt_there_is_refused() -> None:
    with pytest.raises(ServiceError) as refusal:
        check_parent(UUID(int=1), UUID(int=2), {UUID(int=1): None})
    assert refusal.value.reason is Reason.BOARD_NOT_FOUND


def test_thousandth_board_fits_and_the_next_doesnt() -> None:
    check_board_room(999)
    with pytest.raises(ServiceError) as refusal:
        check_board_room(1000)
    assert (refusal.value.reason, refusal.value.metadata) == (Reason.TOO_MANY_BOARDS, {"limit": "1000"})


def test_name_is_kept_without_the_blanks_around_it() -> None:
    assert clean_name(" 바다 and sea ") == "바다 and sea"
    with pytest.raises(ServiceError):
        clean_name(" \t")


def test_another_name_or_place_is_another_request() -> None:
    hashes = {request_hash(name, place) for name in ("sea", "birds") for place in (None, UUID(int=1), UUID(int=2))}
    assert len(hashes) == 6


def test_tree_is_in_the_order_of_names_and_keeps_boards_whose_place_isnt_listed() -> None:
    boards = [
        Board(board_id="1", name="zoo"),
        Board(board_id="2", name="Birds", parent_board_id="1"),
        Board(board_id="3", name="ants", parent_board_id="1"),
        Board(board_id="4", name="lost", parent_board_id="archived"),
        Board(board_id="5", name="nests", parent_board_id="2"),
    ]
    assert [(depth, board.name) for depth, board in in_tree(boards)] == [
        (0, "lost"),
        (0, "zoo"),
        (1, "ants"),
        (1, "Birds"),
        (2, "nests"),
    ]
