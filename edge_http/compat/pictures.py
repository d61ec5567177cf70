"""Bytes of pictures for APIs that carry them in their requests and answers; elsewhere they go to the object store directly."""

import asyncio
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import grpc.aio
import httpx
import numpy as np
from fastapi import Request
from PIL import Image
from pingvas.gallery.v1 import gallery_service_pb2, image_pb2

from edge_http.answers import refusal_of
from edge_http.compat.credentials import CallerCalls
from edge_http.routing import Router
from svc_common.decoding import PictureRefusedError, decode_mask, decode_opacity
from svc_common.errors import dependency_unavailable
from svc_common.pictures import PictureFaultError, facts_in

_PNG: Final = b"\x89PNG\r\n\x1a\n"
# Length, kind and checksum.
_CHUNK_FRAME_BYTES: Final = 12
_PIXEL_CHUNKS: Final = frozenset({b"IDAT", b"fdAT"})
_SIGNATURES: Final = ((_PNG, "image/png"), (b"\xff\xd8\xff", "image/jpeg"))
_WEBP: Final = "image/webp"
_FORMATS: Final = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}
_QUALITY: Final = 100
# Programs refuse answers of more than a megabyte; base64 adds a third.
_PREVIEW_BYTES: Final = 700_000
_PREVIEW_PX: Final = 1024
_PREVIEW_QUALITIES: Final = (80, 50, 20)
_SECONDS: Final = 60.0

T = TypeVar("T")


class Pictures:
    """Uploads and downloads pictures for a caller, and converts them in a thread of its own."""

    def __init__(self, router: Router, calls: CallerCalls) -> None:
        """Takes the calls, by which the object store's addresses are got."""
        self._create_upload = router.named("GalleryService.CreateUpload")
        self._get_image = router.named("GalleryService.GetImage")
        self._calls = calls
        self._http = httpx.AsyncClient(timeout=_SECONDS)
        # One: decoding takes a core and, for the largest pictures, hundreds of megabytes.
        self._thread = ThreadPoolExecutor(1, "pictures")

    async def upload(self, data: bytes, request_id: str, request: Request) -> str:
        """Uploads a picture and returns the upload's id.

        Raises:
            ServiceError: the upload was refused, or the object store doesn't take it.
        """
        content_type = type_of(data)
        message = gallery_service_pb2.CreateUploadRequest(
            content_type=content_type, size_bytes=len(data), request_id=request_id
        )
        try:
            upload: gallery_service_pb2.Upload = await self._calls.unary(self._create_upload, message, request)
        except grpc.aio.AioRpcError as error:
            raise refusal_of(error, self._create_upload.method.area) from error
        await self._transfer("PUT", upload.put_url, content=data, headers={"content-type": content_type})
        return upload.upload_id

    async def image(self, image_id: str, request: Request) -> image_pb2.Image:
        """Returns a picture of the caller's gallery, with a fresh address."""
        message = gallery_service_pb2.GetImageRequest(image_id=image_id)
        try:
            image: image_pb2.Image = await self._calls.unary(self._get_image, message, request)
        except grpc.aio.AioRpcError as error:
            raise refusal_of(error, self._get_image.method.area) from error
        return image

    async def content(self, image: image_pb2.Image) -> bytes:
        """Returns the bytes of a picture."""
        return (await self._transfer("GET", image.content_url)).content

    async def converted(self, data: bytes, file_format: str, quality: int = _QUALITY) -> bytes:
        """Returns a picture as "png", "jpeg" or "webp"; one that is that already stays as it is."""
        if type_of(data) == f"image/{file_format}" and quality == _QUALITY:
            return data
        return await self._in_thread(lambda: _converted(data, file_format, quality))

    async def preview(self, data: bytes) -> bytes:
        """Returns a smaller WebP of a picture, of a size that programs show inside a conversation."""
        return await self._in_thread(lambda: _preview(data))

    async def inverted_mask(self, data: bytes) -> bytes:
        """Returns a mask that repaints what a mask keeps.

        Raises:
            PictureRefusedError: it is no picture that can be used.
        """
        return await self._in_thread(lambda: _inverted(data))

    async def mask_of_opacity(self, data: bytes) -> bytes | None:
        """Returns a mask that repaints where a picture is transparent, or None for one that is nowhere.

        Raises:
            PictureRefusedError: it is no picture that can be used.
        """
        return await self._in_thread(lambda: _mask(data))

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _transfer(
        self, verb: str, url: str, *, content: bytes | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        try:
            answer = await self._http.request(verb, url, content=content, headers=headers)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            # Not with its words: they hold the address, which is a credential.
            raise dependency_unavailable(
                "object_store", "The object store doesn't answer. Repeat the request."
            ) from error
        return answer


def type_of(data: bytes) -> str:
    """Returns the type of a picture by its first bytes; whatever isn't known is called WebP and judged by its decoder."""
    return next((name for signature, name in _SIGNATURES if data.startswith(signature)), _WEBP)


def _converted(data: bytes, file_format: str, quality: int) -> bytes:
    out = io.BytesIO()
    with Image.open(io.BytesIO(data), formats=list(_FORMATS.values())) as image:
        if file_format == "png":
            image.convert("RGB").save(out, "PNG")
        else:
            image.convert("RGB").save(out, _FORMATS[file_format], quality=quality)
    return out.getvalue()


def _preview(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data), formats=list(_FORMATS.values())) as image:
        small = image.convert("RGB")
    small.thumbnail((_PREVIEW_PX, _PREVIEW_PX))
    for quality in _PREVIEW_QUALITIES:
        out = io.BytesIO()
        small.save(out, "WEBP", quality=quality)
        if out.tell() <= _PREVIEW_BYTES:
            break
    return out.getvalue()


def _mask(data: bytes) -> bytes | None:
    opacity = decode_opacity(data)
    if opacity is None:
        return None
    out = io.BytesIO()
    Image.fromarray(np.uint8(255) - opacity).save(out, "PNG")
    return out.getvalue()


def _inverted(data: bytes) -> bytes:
    try:
        size = facts_in(data).seen_size_px
    except PictureFaultError as error:
        raise PictureRefusedError(f"can't be used: {error}.") from error
    out = io.BytesIO()
    Image.fromarray(np.uint8(255) - decode_mask(data, *size)).save(out, "PNG")
    return out.getvalue()


def without_pixels(data: bytes) -> bytes:
    """Returns a PNG without the chunks that hold its pixels, which may be megabytes; anything else as it is.

    What is left holds the notes. A chunk that is cut short ends it.
    """
    if not data.startswith(_PNG):
        return data
    kept, place = bytearray(_PNG), len(_PNG)
    while place + _CHUNK_FRAME_BYTES <= len(data):
        end = place + _CHUNK_FRAME_BYTES + int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] not in _PIXEL_CHUNKS:
            kept += data[place:end]
        place = end
    return bytes(kept)
