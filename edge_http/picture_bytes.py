"""Bytes of pictures by the API's own addresses, for programs that can't follow presigned ones.

They come from the object store and go to it, in pieces, and lie nowhere on their way. A picture never changes, so that
whoever may see it may keep it.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final

import grpc.aio
import httpx
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from pingvas.gallery.v1 import gallery_service_pb2, sharing_service_pb2
from starlette.background import BackgroundTask
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from edge_http.answers import JSON, document_of, encoded, refusal_of
from edge_http.calls import Calls
from edge_http.compat.credentials import CallerCalls, credential_of
from edge_http.documents import limited, malformed
from edge_http.own_routes import OwnRoute, own_route
from edge_http.routing import Router
from svc_common.errors import ServiceError, dependency_unavailable, invalid_field

CONTENT_PATH: Final = "/api/v1/images/{image_id}/content"
THUMBNAIL_PATH: Final = "/api/v1/images/{image_id}/thumbnail"
SHARED_PATH: Final = "/api/v1/shared/{share_token}/content"
UPLOAD_PATH: Final = "/api/v1/images:upload"

_FORM_BYTES: Final = (32 << 20) + (64 << 10)
"""The contract's bound of an upload, and what a form adds to it."""
_FORM: Final = "multipart/form-data"
_FILE: Final = "file"
_SECONDS: Final = 60.0
_CHUNK_BYTES: Final = 64 << 10
# What a client asks of the store, and what the store says of the bytes.
_ASKED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "range": "The part that is wanted, such as `bytes=0-1023`.",
        "if-range": "An `etag` or time: the part is answered if the bytes are still those, and otherwise all of them.",
        "if-none-match": "The `etag` of what the caller has: 304 if the bytes are the same.",
        "if-modified-since": "The `last-modified` of what the caller has: 304 if the bytes are the same.",
        "if-match": "An `etag`: 412 if the bytes have another.",
        "if-unmodified-since": "A time: 412 if the bytes were written later.",
    }
)
_TOLD: Final = ("content-range", "etag", "last-modified", "accept-ranges")
_TOLD_OF_BYTES: Final = (*_TOLD, "content-type", "content-length")
# For the owner alone, and for as long as anybody wants: the bytes behind an id are always the same.
_OWN: Final = "private, max-age=31536000, immutable"
# A link that is taken back shows nothing a minute later.
_SHARED: Final = "private, max-age=60"
_ENDINGS: Final[Mapping[str, str]] = MappingProxyType({"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"})
_CLIENT_GONE: Final = 499
_WHOLE, _PART = 200, 206
# Whatever else the store says is none of the caller's business.
_ANSWERS: Final[Mapping[int, str]] = MappingProxyType(
    {
        _WHOLE: "The bytes, with `etag`, `last-modified` and `accept-ranges`.",
        _PART: "The part that was asked for, with `content-range`.",
        304: "The caller has the bytes already.",
        412: "The bytes aren't those of the condition.",
        416: "The part lies outside of the bytes.",
    }
)
_CONTENT_TYPES: Final = tuple(_ENDINGS)
_BYTES: Final = {"type": "string", "format": "binary"}


class PictureBytes:
    """Passes pictures on between callers and the object store."""

    def __init__(self, router: Router, calls: Calls, caller_calls: CallerCalls) -> None:
        """Takes the calls, by which the object store's addresses are got."""
        self._get_image = router.named("GalleryService.GetImage")
        self._get_shared = router.named("SharingService.GetSharedImage")
        self._create_upload = router.named("GalleryService.CreateUpload")
        self._calls, self._caller_calls = calls, caller_calls
        self._http = httpx.AsyncClient(timeout=_SECONDS)

    @own_route(
        OwnRoute(
            ("GET", "HEAD"),
            (CONTENT_PATH,),
            "GalleryService.GetImage",
            headers=_ASKED,
            answers=_ANSWERS,
            media_types=_CONTENT_TYPES,
        )
    )
    async def content(self, request: Request) -> Response:
        """Answers with the original of one of the caller's pictures, or the part of it that was asked for."""
        image = await self._image(request)
        return await self._passed(image.content_url, request, _OWN, f"{image.image_id}.{_ENDINGS[image.content_type]}")

    @own_route(
        OwnRoute(
            ("GET", "HEAD"),
            (THUMBNAIL_PATH,),
            "GalleryService.GetImage",
            headers=_ASKED,
            answers=_ANSWERS,
            media_types=("image/webp",),
        )
    )
    async def thumbnail(self, request: Request) -> Response:
        """Answers with a small WebP of one of the caller's pictures."""
        image = await self._image(request)
        return await self._passed(image.thumbnail_url, request, _OWN, f"{image.image_id}-thumbnail.webp")

    @own_route(
        OwnRoute(
            ("GET",),
            (SHARED_PATH,),
            "SharingService.GetSharedImage",
            headers=_ASKED,
            answers=_ANSWERS,
            media_types=_CONTENT_TYPES,
        )
    )
    async def shared(self, request: Request) -> Response:
        """Answers with the picture that a link shows, which counts as a view; with its thumbnail where that is all."""
        message = sharing_service_pb2.GetSharedImageRequest(share_token=request.path_params["share_token"])
        image: sharing_service_pb2.SharedImage
        try:
            image = await self._calls.unary(self._get_shared, message, request, authorization="")
        except grpc.aio.AioRpcError as error:
            raise refusal_of(error, self._get_shared.method.area) from error
        if image.content_url:
            return await self._passed(image.content_url, request, _SHARED, f"shared.{_ENDINGS[image.content_type]}")
        return await self._passed(image.thumbnail_url, request, _SHARED, "shared.webp")

    @own_route(
        OwnRoute(
            ("POST",),
            (UPLOAD_PATH,),
            "GalleryService.CreateUpload",
            body={
                **dict.fromkeys(_CONTENT_TYPES, _BYTES),
                _FORM: {"type": "object", "properties": {_FILE: _BYTES}, "required": [_FILE]},
            },
            answers={_WHOLE: "The upload, which jobs may name as their source."},
        )
    )
    async def upload(self, request: Request) -> Response:
        """Takes a picture, as the body or as the file of a form, and answers with the upload that jobs may name.

        Raises:
            ServiceError: REQUEST_MALFORMED, REQUEST_TOO_LARGE, INVALID_FIELD, or what CreateUpload refuses.
        """
        # Before the bytes are waited for.
        credential_of(request)
        content_type = _type_in(request.headers.get("content-type"))
        try:
            if content_type != _FORM:
                return await self._put(content_type, _size_of(request), request.stream(), request)
            async with limited(request, _FORM_BYTES).form(max_files=1, max_fields=0) as form:
                file = form.get(_FILE)
                if not isinstance(file, UploadFile) or file.size is None:
                    raise invalid_field(_FILE, "must be the picture")
                return await self._put(_type_in(file.content_type), file.size, _pieces_of(file), request)
        except (HTTPException, MultiPartException) as error:
            raise malformed(f"The form can't be read. Send one file as `{_FILE}`, and nothing else.") from error
        except ClientDisconnect:
            return Response(status_code=_CLIENT_GONE)

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def _image(self, request: Request) -> Any:
        message = gallery_service_pb2.GetImageRequest(image_id=request.path_params["image_id"])
        return await self._caller_calls.answer(self._get_image, message, request)

    async def _passed(self, url: str, request: Request, cache_control: str, name: str) -> Response:
        """Answers as the store does for an address of its own."""
        asked = {header: value for header in _ASKED if (value := request.headers.get(header))}
        with _store_answers():
            # The store's bytes as they are: a decoded body would have another length than it says.
            sent = self._http.build_request("GET", url, headers={**asked, "accept-encoding": "identity"})
            answer = await self._http.send(sent, stream=True)
        # Not all stores say that a part is one.
        status = _PART if answer.status_code == _WHOLE and "content-range" in answer.headers else answer.status_code
        told = _TOLD_OF_BYTES if status in (_WHOLE, _PART) else _TOLD
        headers = {header: value for header in told if (value := answer.headers.get(header))}
        headers |= {"cache-control": cache_control, "content-disposition": f'inline; filename="{name}"'}
        if status in (_WHOLE, _PART) and request.method != "HEAD":
            return StreamingResponse(
                answer.aiter_raw(_CHUNK_BYTES), status, headers, background=BackgroundTask(answer.aclose)
            )
        await answer.aclose()
        if status not in _ANSWERS:
            raise _store_away()
        return Response(None, status, headers)

    async def _put(
        self, content_type: str, size_bytes: int, pieces: AsyncIterator[bytes], request: Request
    ) -> Response:
        """Opens an upload, passes the bytes on to it, and answers with it."""
        message = gallery_service_pb2.CreateUploadRequest(content_type=content_type, size_bytes=size_bytes)
        upload: gallery_service_pb2.Upload = await self._caller_calls.answer(self._create_upload, message, request)
        headers = {"content-type": content_type, "content-length": str(size_bytes)}
        with _store_answers():
            (await self._http.put(upload.put_url, content=pieces, headers=headers)).raise_for_status()
        # Nothing is left to be put.
        upload.ClearField("put_url")
        upload.ClearField("put_expire_time")
        return Response(encoded(document_of(upload)), headers={"cache-control": "no-store"}, media_type=JSON)


def _type_in(header: str | None) -> str:
    return (header or "").partition(";")[0].strip().lower()


def _size_of(request: Request) -> int:
    """Returns the size of a body that isn't there yet; the largest that CreateUpload takes is the contract's concern."""
    size = request.headers.get("content-length", "")
    if not size.isdecimal():
        raise malformed("Send the size of the picture as `content-length`, or the picture as a form.")
    return int(size)


async def _pieces_of(file: UploadFile) -> AsyncIterator[bytes]:
    while piece := await file.read(_CHUNK_BYTES):
        yield piece


@contextmanager
def _store_answers() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise _store_away() from error


def _store_away() -> ServiceError:
    # Not with the store's own words: they hold the address, which is a credential.
    return dependency_unavailable("object_store", "The object store doesn't answer. Repeat the request.")
