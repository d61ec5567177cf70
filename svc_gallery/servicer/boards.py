"""Serves BoardService: boards, and which pictures are on them."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from pingvas.gallery.v1 import board_pb2, board_service_pb2, board_service_pb2_grpc, gallery_service_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.caller import current_account, current_user
from svc_common.db import Database
from svc_common.idempotency import idempotency_key, idempotency_key_reused
from svc_common.objects import ObjectStore
from svc_common.paging import PageTokens, moment_and_id, page_size
from svc_gallery.domain.boards import check_board_room, check_move, check_parent, clean_name, request_hash
from svc_gallery.domain.images import image_not_found
from svc_gallery.messages.images import batch_message, board_message
from svc_gallery.store import boards, queries
from svc_gallery.store.models import Board


class BoardServicer(board_service_pb2_grpc.BoardServiceServicer):
    """Implements pingvas.gallery.v1.BoardService."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        page_tokens: PageTokens,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        """Takes the database under the requests role, where covers lie, the maker of page tokens, clock and ids."""
        self._database = database
        self._objects = objects
        self._page_tokens = page_tokens
        self._now = now
        self._new_id = new_id

    async def CreateBoard(self, request: board_service_pb2.CreateBoardRequest, _context: object) -> board_pb2.Board:
        """Creates a board."""
        account_id, key = current_account(), idempotency_key(request.request_id)
        name, parent_board_id = clean_name(request.name), _optional_id(request.parent_board_id)
        async with self._database.transaction(account_id) as transaction:
            await boards.take_turn(transaction, account_id)
            board = await boards.find_request(transaction, account_id, key) if key else None
            if board is None:
                tree = await boards.read_tree(transaction, account_id)
                board = self._new_board(account_id, name, parent_board_id, key)
                if parent_board_id is not None:
                    check_parent(board.board_id, parent_board_id, tree)
                check_board_room(len(tree))
                transaction.add(board)
                await transaction.flush()
            elif board.request_hash != request_hash(name, parent_board_id):
                raise idempotency_key_reused(key)
            return await self._shown(transaction, account_id, board.board_id)

    async def ListBoards(
        self, request: board_service_pb2.ListBoardsRequest, _context: object
    ) -> board_service_pb2.ListBoardsResponse:
        """Returns a page of the caller's boards, oldest first."""
        account_id, now, size = current_account(), self._now(), page_size(request.page_size)
        scope = f"boards:{account_id}:{request.with_archived}"
        after = moment_and_id(self._page_tokens.decode(request.page_token, scope)) if request.page_token else None
        async with self._database.transaction(account_id) as transaction:
            found = await boards.list_boards(
                transaction, account_id, with_archived=request.with_archived, after=after, limit=size + 1
            )
        page, next_page_token = self._page_tokens.cut(
            found, size, scope, lambda shown: (shown.board.create_time.isoformat(), str(shown.board.board_id))
        )
        messages = [await board_message(shown, self._objects, now) for shown in page]
        return board_service_pb2.ListBoardsResponse(boards=messages, next_page_token=next_page_token)

    async def GetBoard(self, request: board_service_pb2.GetBoardRequest, _context: object) -> board_pb2.Board:
        """Returns one of the caller's boards."""
        account_id = current_account()
        async with self._database.transaction(account_id) as transaction:
            return await self._shown(transaction, account_id, UUID(request.board_id))

    async def UpdateBoard(self, request: board_service_pb2.UpdateBoardRequest, _context: object) -> board_pb2.Board:
        """Changes a board; one change of the tree follows the other, so that two of them can't close a circle."""
        account_id, board_id = current_account(), UUID(request.board_id)
        async with self._database.transaction(account_id) as transaction:
            await boards.take_turn(transaction, account_id)
            board = await boards.find_board(transaction, account_id, board_id)
            if request.HasField("name"):
                board.name = clean_name(request.name)
            if request.HasField("parent_board_id"):
                board.parent_board_id = await self._new_place(transaction, account_id, board_id, request)
            if request.HasField("cover_image_id"):
                board.cover_image_id = await self._new_cover(transaction, account_id, request)
            if request.HasField("archived"):
                board.archived = request.archived
            board.update_time = self._now()
            await transaction.flush()
            return await self._shown(transaction, account_id, board_id)

    async def DeleteBoard(
        self, request: board_service_pb2.DeleteBoardRequest, _context: object
    ) -> board_service_pb2.DeleteBoardResponse:
        """Deletes a board and keeps what was on it and in it."""
        account_id = current_account()
        async with self._database.transaction(account_id) as transaction:
            await boards.take_turn(transaction, account_id)
            board = await boards.find_board(transaction, account_id, UUID(request.board_id))
            image_count, moved = await boards.delete_board(transaction, account_id, board)
        return board_service_pb2.DeleteBoardResponse(kept_image_count=image_count, moved_board_ids=map(str, moved))

    async def AddBoardImages(
        self, request: board_service_pb2.AddBoardImagesRequest, _context: object
    ) -> gallery_service_pb2.BatchImagesResponse:
        """Puts pictures on a board."""
        account_id, board_id = current_account(), UUID(request.board_id)
        sought = list(map(UUID, request.image_ids))
        async with self._database.transaction(account_id) as transaction:
            await boards.hold_boards(transaction, account_id, [board_id])
            done = await boards.move_images(transaction, account_id, sought, to_board_id=board_id)
        return batch_message(sought, done)

    async def RemoveBoardImage(
        self, request: board_service_pb2.RemoveBoardImageRequest, _context: object
    ) -> board_pb2.Board:
        """Takes a picture from a board, also one in the bin."""
        account_id, board_id, image_id = current_account(), UUID(request.board_id), UUID(request.image_id)
        async with self._database.transaction(account_id) as transaction:
            await boards.hold_boards(transaction, account_id, [board_id])
            if await queries.find_image_or_deleted(transaction, account_id, image_id, self._now()) is None:
                raise image_not_found(image_id)
            await boards.remove_image(transaction, account_id, board_id, image_id)
            return await self._shown(transaction, account_id, board_id)

    async def BatchMoveImages(
        self, request: board_service_pb2.BatchMoveImagesRequest, _context: object
    ) -> gallery_service_pb2.BatchImagesResponse:
        """Puts pictures on one board and takes them from another, in one transaction."""
        account_id, sought = current_account(), list(map(UUID, request.image_ids))
        to_board_id, from_board_id = _optional_id(request.to_board_id), _optional_id(request.from_board_id)
        check_move(to_board_id, from_board_id)
        named = [board_id for board_id in (to_board_id, from_board_id) if board_id is not None]
        async with self._database.transaction(account_id) as transaction:
            await boards.hold_boards(transaction, account_id, named)
            done = await boards.move_images(
                transaction, account_id, sought, to_board_id=to_board_id, from_board_id=from_board_id
            )
        return batch_message(sought, done)

    async def _shown(self, transaction: AsyncSession, account_id: UUID, board_id: UUID) -> board_pb2.Board:
        shown = await boards.show_board(transaction, account_id, board_id)
        return await board_message(shown, self._objects, self._now())

    async def _new_place(
        self, transaction: AsyncSession, account_id: UUID, board_id: UUID, request: board_service_pb2.UpdateBoardRequest
    ) -> UUID | None:
        parent_board_id = _optional_id(request.parent_board_id)
        if parent_board_id is not None:
            check_parent(board_id, parent_board_id, await boards.read_tree(transaction, account_id))
        return parent_board_id

    async def _new_cover(
        self, transaction: AsyncSession, account_id: UUID, request: board_service_pb2.UpdateBoardRequest
    ) -> UUID | None:
        image_id = _optional_id(request.cover_image_id)
        # Locked, so that it can't be purged before the board refers to it.
        if image_id is not None and await queries.lock_image(transaction, account_id, image_id) is None:
            raise image_not_found(image_id)
        return image_id

    def _new_board(self, account_id: UUID, name: str, parent_board_id: UUID | None, key: str) -> Board:
        now = self._now()
        return Board(
            board_id=self._new_id(),
            account_id=account_id,
            created_by=current_user(),
            request_id=key or None,
            request_hash=request_hash(name, parent_board_id),
            name=name,
            parent_board_id=parent_board_id,
            archived=False,
            create_time=now,
            update_time=now,
        )


def _optional_id(text: str) -> UUID | None:
    return UUID(text) if text else None
