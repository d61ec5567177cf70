"""Serves GalleryDataService: what svc_gallery has of an account, for the copy that its owner asks for."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from google.protobuf import json_format
from pingvas.common.v1.account_export_pb2 import AccountPage, ExportAccountRequest
from pingvas.gallery.v1 import (
    board_pb2,
    gallery_data_service_pb2,
    gallery_data_service_pb2_grpc,
    image_pb2,
    sharing_service_pb2,
    template_pb2,
)

from svc_common.account_data import AccountPager, Document, rows_of, without
from svc_common.db import Database
from svc_common.objects import ObjectStore
from svc_common.paging import PageTokens
from svc_gallery.domain.share_links import ShareTokens
from svc_gallery.messages.images import image_message, share_link_message
from svc_gallery.messages.templates import template_message
from svc_gallery.store.models import Board, BoardImage, Image, ShareLink, Template

# The method's rules are there once its module is; the stubs import messages only.
_SERVICE: Final = gallery_data_service_pb2.DESCRIPTOR


class GalleryDataServicer(gallery_data_service_pb2_grpc.GalleryDataServiceServicer):
    """Implements pingvas.gallery.v1.GalleryDataService."""

    def __init__(
        self,
        *,
        database: Database,
        objects: ObjectStore,
        page_tokens: PageTokens,
        share_tokens: ShareTokens,
        now: Callable[[], datetime],
    ) -> None:
        """Takes the database under the requests role."""
        self._objects = objects
        self._share_tokens = share_tokens
        self._now = now
        collections = (
            rows_of("boards", Board, (Board.board_id,), _board),
            rows_of("board_images", BoardImage, (BoardImage.board_id, BoardImage.image_id), _board_image),
            rows_of("templates", Template, (Template.template_id,), self._template),
            rows_of("share_links", ShareLink, (ShareLink.share_link_id,), self._share_link),
            rows_of("images", Image, (Image.image_id,), self._image),
        )
        self._pager = AccountPager(database=database, page_tokens=page_tokens, collections=collections)

    async def ExportAccount(self, request: ExportAccountRequest, _context: object) -> AccountPage:
        """Returns a page of what there is of an account."""
        return await self._pager.page(request)

    async def _image(self, row: Image) -> image_pb2.Image:
        message = await image_message(row, self._objects, self._now())
        # Addresses end within the hour; the files are in the copy.
        return without(message, "content_url", "thumbnail_url", "url_expire_time")

    async def _template(self, row: Template) -> template_pb2.Template:
        return await template_message(row, {}, (), self._objects, self._now())

    def _share_link(self, row: ShareLink) -> Document:
        return {
            "image_id": str(row.image_id),
            **_fields(without(share_link_message(row, self._share_tokens), "share_token")),
        }


def _fields(link: sharing_service_pb2.ShareLink) -> dict[str, object]:
    return json_format.MessageToDict(link, preserving_proto_field_name=True)


def _board(row: Board) -> board_pb2.Board:
    message = board_pb2.Board(
        board_id=str(row.board_id),
        name=row.name,
        parent_board_id=str(row.parent_board_id or ""),
        cover_image_id=str(row.cover_image_id or ""),
        archived=row.archived,
    )
    message.create_time.FromDatetime(row.create_time)
    message.update_time.FromDatetime(row.update_time)
    return message


def _board_image(row: BoardImage) -> Document:
    return {"board_id": str(row.board_id), "image_id": str(row.image_id)}
