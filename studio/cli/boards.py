"""`pingvas boards`: the folders of the gallery."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import click
from google.protobuf.json_format import MessageToDict
from pingvas.gallery.v1.board_pb2 import Board
from pingvas.gallery.v1.board_service_pb2 import (
    BatchMoveImagesRequest,
    CreateBoardRequest,
    DeleteBoardRequest,
    ListBoardsRequest,
    ListBoardsResponse,
    UpdateBoardRequest,
)
from pingvas.gallery.v1.board_service_pb2_grpc import BoardServiceStub

from studio.cli.client import connect
from studio.cli.context import Shared, json_option, pass_shared, shared_options
from studio.cli.failures import CommandError
from svc_common import clock

_PAGE: Final = 200


@click.group()
def boards() -> None:
    """Sort your pictures onto boards."""


@boards.command("list")
@shared_options
@click.option("--archived", is_flag=True, help="Show archived boards as well.")
@json_option
@pass_shared
def list_boards(shared: Shared, *, archived: bool, as_json: bool) -> None:
    """List your boards, each below the one that it lies in."""
    with connect(shared) as client:
        request = ListBoardsRequest(page_size=_PAGE, with_archived=archived)
        found = list(client.items(BoardServiceStub(client.channel).ListBoards, request))
    if as_json:
        answer = ListBoardsResponse(boards=found)
        click.echo(json.dumps(MessageToDict(answer, preserving_proto_field_name=True), indent=2))
        return
    if not found:
        click.echo("No boards yet. Make one: pingvas boards create NAME")
    for depth, board in in_tree(found):
        click.echo(f"{board.board_id}  {board.image_count:6}  {'  ' * depth}{board.name}")


@boards.command("create")
@shared_options
@click.argument("name")
@click.option("--in", "parent_board_id", default="", help="The id of the board that it is to lie in.")
@pass_shared
def create_board(shared: Shared, name: str, parent_board_id: str) -> None:
    """Create a board and print its id."""
    request = CreateBoardRequest(name=name, parent_board_id=parent_board_id, request_id=str(clock.new_id()))
    with connect(shared) as client:
        click.echo(client.call(BoardServiceStub(client.channel).CreateBoard, request).board_id)


@boards.command("add")
@shared_options
@click.argument("board_id")
@click.argument("image_ids", nargs=-1, required=True)
@pass_shared
def add_images(shared: Shared, board_id: str, image_ids: Sequence[str]) -> None:
    """Put pictures on a board."""
    _move(shared, BatchMoveImagesRequest(to_board_id=board_id, image_ids=image_ids))


@boards.command("remove")
@shared_options
@click.argument("board_id")
@click.argument("image_ids", nargs=-1, required=True)
@pass_shared
def remove_images(shared: Shared, board_id: str, image_ids: Sequence[str]) -> None:
    """Take pictures from a board; they stay in the gallery."""
    _move(shared, BatchMoveImagesRequest(from_board_id=board_id, image_ids=image_ids))


@boards.command("archive")
@shared_options
@click.argument("board_id")
@click.option("--undo", is_flag=True, help="Bring it back.")
@pass_shared
def archive_board(shared: Shared, board_id: str, undo: bool) -> None:
    """Put a board aside: it is listed with --archived only."""
    request = UpdateBoardRequest(board_id=board_id, archived=not undo)
    with connect(shared) as client:
        client.call(BoardServiceStub(client.channel).UpdateBoard, request)


@boards.command("delete")
@shared_options
@click.argument("board_id")
@pass_shared
def delete_board(shared: Shared, board_id: str) -> None:
    """Delete a board; its pictures stay, and boards inside it move to where it lay."""
    with connect(shared) as client:
        answer = client.call(BoardServiceStub(client.channel).DeleteBoard, DeleteBoardRequest(board_id=board_id))
    click.echo(f"Deleted. Pictures that stay in the gallery: {answer.kept_image_count}")


def in_tree(boards: Sequence[Board]) -> Iterator[tuple[int, Board]]:
    """Yields boards by name, each below the one that it lies in, with its depth; without that one it is at the top."""
    known = {board.board_id for board in boards}
    inside: defaultdict[str, list[Board]] = defaultdict(list)
    for board in boards:
        inside[board.parent_board_id if board.parent_board_id in known else ""].append(board)

    def walk(board_id: str, depth: int) -> Iterator[tuple[int, Board]]:
        for board in sorted(inside[board_id], key=lambda board: board.name.casefold()):
            yield depth, board
            yield from walk(board.board_id, depth + 1)

    return walk("", 0)


def _move(shared: Shared, request: BatchMoveImagesRequest) -> None:
    with connect(shared) as client:
        answer = client.call(BoardServiceStub(client.channel).BatchMoveImages, request)
    refused = [f"{result.image_id}: {result.error.message}" for result in answer.results if result.HasField("error")]
    if refused:
        raise CommandError(
            f"{len(refused)} of {len(answer.results)} pictures were left out",
            advice="`pingvas images list` shows your pictures.",
            details="\n".join(refused),
        )
