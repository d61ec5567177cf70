"""OpenAI's Images API and its list of models, for programs that speak no other: they need a base URL and an access token.

It is thin over CreateJob and WatchJob. One request waits until its pictures are there, however long they wait in the queue; a
caller who hangs up cancels the job after some seconds (see `jobs`). Names of OpenAI's models stand for the default model.
"""

import base64
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from google.protobuf.message import Message
from pingvas.generation.v1 import generation_service_pb2, job_event_pb2, job_pb2
from pingvas.models.v1 import model_pb2, model_service_pb2
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

from edge_http.answers import JSON, encoded
from edge_http.compat.credentials import CallerCalls, credential_of
from edge_http.compat.jobs import Jobs, finished_images
from edge_http.compat.openai_errors import document_of, refused
from edge_http.compat.openai_requests import ALIASES, Wanted, content_of, edit, is_alias, text_to_image, wanted_of
from edge_http.compat.pictures import Pictures
from edge_http.documents import body_of, limited, malformed, read_json
from edge_http.presence import unless_gone
from edge_http.routing import Route, Router
from svc_common.clock import new_id
from svc_common.decoding import MAX_BYTES, PictureRefusedError
from svc_common.errors import FieldViolation, Reason, ServiceError

PREFIX: Final = "/v1"
# A picture, a mask, and the texts beside them.
FORM_BYTES: Final = 2 * MAX_BYTES + (1 << 20)
_CLIENT_GONE: Final = 499
_MOST_FILES: Final = 17
_PREVIEW_QUALITY: Final = 90
_OWNER: Final = "pingvas"
_STREAM_HEADERS: Final = {
    "cache-control": "no-store",
    "content-type": "text/event-stream",
    "x-accel-buffering": "no",
}
_HEARTBEAT: Final = b": heartbeat\n\n"
# This platform counts credits. Their clients' types want the numbers at the end of a stream.
_NO_TOKENS: Final = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}

_log: Final = structlog.get_logger("edge_http.compat")


class OpenAiImages:
    """Answers the requests below /v1."""

    def __init__(self, router: Router, calls: CallerCalls, jobs: Jobs, pictures: Pictures) -> None:
        """Takes what jobs and pictures go through."""
        self._list_models = router.named("ModelService.ListModels")
        self._get_model = router.named("ModelService.GetModel")
        self._calls = calls
        self._jobs = jobs
        self._pictures = pictures

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes; every other path below the prefix is refused as OpenAI would."""
        for verb, path, answer in (
            ("POST", "/images/generations", self.generate),
            ("POST", "/images/edits", self.edit),
            ("GET", "/models", self.models),
            ("GET", "/models/{model_id:path}", self.model),
        ):
            app.add_api_route(PREFIX + path, _reporting(answer), methods=[verb])
        verbs = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
        app.add_api_route(PREFIX + "/{path:path}", _reporting(_unknown), methods=verbs)

    async def generate(self, request: Request) -> Response:
        """Makes pictures from a prompt."""
        credential_of(request)
        fields = read_json(await body_of(request))
        if not isinstance(fields, dict):
            raise malformed("The body must be a JSON object.")
        message, wanted = text_to_image(fields), wanted_of(fields)
        return await self._answer(request, message, wanted, "image_generation", content_of(fields))

    async def edit(self, request: Request) -> Response:
        """Makes pictures from a picture, or repaints the part of it where the mask is transparent."""
        credential_of(request)
        # Before megabytes are read: the token is looked at by a service alone.
        await self._call(self._list_models, model_service_pb2.ListModelsRequest(page_size=1), request)
        fields, files = await _form_of(request)
        wanted = wanted_of(fields)
        if len(images := files.get("image", [])) != 1:
            raise _missing("image", "Send one picture as `image`; several at once can't be edited here.")
        content = content_of({**fields, "files": {name: list(map(_hash, each)) for name, each in files.items()}})
        mask = await self._mask(files.get("mask", []))
        # The same ids for the same request, so that a repeated one finds its uploads, and they are the same job.
        base = request.headers.get("idempotency-key") or str(new_id())
        source_id = await self._pictures.upload(images[0], _upload_key(base, "image"), request)
        mask_id = None if mask is None else await self._pictures.upload(mask, _upload_key(base, "mask"), request)
        return await self._answer(request, edit(fields, source_id, mask_id), wanted, "image_edit", content)

    async def models(self, request: Request) -> Response:
        """Lists the models that the caller's tier reaches, and the names of OpenAI's that stand for the default one."""
        credential_of(request)
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            message = model_service_pb2.ListModelsRequest(page_size=200, page_token=token)
            page: model_service_pb2.ListModelsResponse = await self._call(self._list_models, message, request)
            found += [_model(each) for each in page.models if each.kind == model_pb2.MODEL_KIND_CHECKPOINT]
            token = page.next_page_token
            if not token:
                break
        return _json({"object": "list", "data": [*found, *map(_alias, ALIASES)]})

    async def model(self, request: Request) -> Response:
        """Describes one model."""
        credential_of(request)
        model_id = request.path_params["model_id"]
        if is_alias(model_id):
            await self._call(self._list_models, model_service_pb2.ListModelsRequest(page_size=1), request)
            return _json(_alias(model_id))
        message = model_service_pb2.GetModelRequest(model_id=model_id)
        return _json(_model(await self._call(self._get_model, message, request)))

    async def _answer(
        self,
        request: Request,
        message: generation_service_pb2.CreateJobRequest,
        wanted: Wanted,
        kind: str,
        content: bytes,
    ) -> Response:
        if wanted.streams:
            return await self._streamed(request, message, wanted, kind, content)
        answer = await unless_gone(self._whole(request, message, wanted, content), request)
        return Response(status_code=_CLIENT_GONE) if answer is None else _json(answer)

    async def _whole(
        self, request: Request, message: generation_service_pb2.CreateJobRequest, wanted: Wanted, content: bytes
    ) -> dict[str, Any]:
        async with self._jobs.begun(message, request, content) as events:
            async for event in events:
                if (images := finished_images(event)) is not None:
                    data = [await self._datum(each, wanted, request) for each in images]
                    size = f"{images[0].width_px}x{images[0].height_px}"
                    shown = {"background": "opaque", "output_format": wanted.file_format, "size": size}
                    return {"created": int(time.time()), "data": data, **shown}
        raise ServiceError(Reason.INTERNAL, "The job ended without a word.")

    async def _streamed(
        self,
        request: Request,
        message: generation_service_pb2.CreateJobRequest,
        wanted: Wanted,
        kind: str,
        content: bytes,
    ) -> Response:
        """Returns the answer as events. The job is accepted before the answer begins, so that its refusal is a plain one."""
        lines = self._lines(request, message, wanted, kind, content)
        first = await anext(lines)
        return StreamingResponse(_joined(first, lines), headers=_STREAM_HEADERS)

    async def _lines(
        self,
        request: Request,
        message: generation_service_pb2.CreateJobRequest,
        wanted: Wanted,
        kind: str,
        content: bytes,
    ) -> AsyncIterator[bytes]:
        async with self._jobs.begun(message, request, content) as events:
            yield _HEARTBEAT
            try:
                async for line in self._progress(events, request, wanted, kind):
                    yield line
            except ServiceError as error:
                yield _line("error", document_of(error))

    async def _progress(
        self, events: AsyncIterator[job_event_pb2.JobEvent], request: Request, wanted: Wanted, kind: str
    ) -> AsyncIterator[bytes]:
        shown = 0
        async for event in events:
            if (images := finished_images(event)) is not None:
                for image in images:
                    datum = await self._datum(image, wanted, request)
                    size = f"{image.width_px}x{image.height_px}"
                    yield _line(f"{kind}.completed", {**datum, **_told(wanted, size), "usage": _NO_TOKENS})
            elif shown < wanted.partial_images and _is_due(event.progress, shown, wanted):
                preview = event.progress.preview_jpeg
                partial = await self._pictures.converted(preview, wanted.file_format, _PREVIEW_QUALITY)
                told = {"b64_json": _base64(partial), "partial_image_index": shown, **_told(wanted, "auto")}
                yield _line(f"{kind}.partial_image", told)
                shown += 1
            else:
                yield _HEARTBEAT

    async def _datum(self, made: job_pb2.JobImage, wanted: Wanted, request: Request) -> dict[str, Any]:
        """Returns one picture as it is wanted, with the seed that makes it again."""
        image = await self._pictures.image(made.image_id, request)
        if wanted.as_url:
            return {"url": image.content_url, "seed": str(made.seed)}
        data = await self._pictures.content(image)
        converted = await self._pictures.converted(data, wanted.file_format, wanted.quality)
        return {"b64_json": _base64(converted), "seed": str(made.seed)}

    async def _mask(self, masks: list[bytes]) -> bytes | None:
        if not masks:
            return None
        try:
            mask = await self._pictures.mask_of_opacity(masks[0])
        except PictureRefusedError as error:
            raise _missing("mask", f"The mask {error}") from error
        if mask is None:
            raise _missing("mask", "The mask has no transparency. Make it transparent where the picture is to change.")
        return mask

    async def _call(self, route: Route, message: Message, request: Request) -> Any:
        return await self._calls.answer(route, message, request)


def _reporting(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def reported(request: Request) -> Response:
        try:
            response = await answer(request)
        except ServiceError as error:
            response = refused(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller is answered
            _log.error("http.failed", exc_info=error)
            response = refused(ServiceError(Reason.INTERNAL, "The server failed. Repeat the request."))
        _log.info("http.request", method=request.method, path=request.url.path, status=response.status_code)
        return response

    return reported


async def _unknown(request: Request) -> Response:
    path = request.url.path
    words = f"Unknown request: {request.method} {path[:100]}. Images are made by /v1/images/generations and /v1/images/edits."
    if path == f"{PREFIX}/images/variations":
        words = "There are no variations here. Send the picture to /v1/images/edits without a mask."
    raise ServiceError(Reason.METHOD_NOT_FOUND, words)


async def _form_of(request: Request) -> tuple[dict[str, str], dict[str, list[bytes]]]:
    """Returns the texts of a form and its files; `image[]` is `image`.

    Raises:
        ServiceError: REQUEST_MALFORMED or REQUEST_TOO_LARGE.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise malformed("Send multipart/form-data with the picture as `image`.")
    whole = Request(request.scope, limited(request, FORM_BYTES))
    fields: dict[str, str] = {}
    files: dict[str, list[bytes]] = {}
    try:
        async with whole.form(max_files=_MOST_FILES) as form:
            for name, value in form.multi_items():
                plain = name.removesuffix("[]")
                if isinstance(value, UploadFile):
                    files.setdefault(plain, []).append(await value.read())
                else:
                    fields[plain] = value
    except (HTTPException, MultiPartException) as error:
        raise malformed("The form can't be read.") from error
    return fields, files


def _is_due(progress: job_event_pb2.JobProgress, shown: int, wanted: Wanted) -> bool:
    """Returns whether a preview is shown: the previews that are wanted are spread evenly over the steps."""
    due_percent = 100 * (shown + 1) / (wanted.partial_images + 1)
    return bool(progress.preview_jpeg) and progress.percent >= due_percent


def _told(wanted: Wanted, size: str) -> dict[str, Any]:
    return {
        "created_at": int(time.time()),
        "size": size,
        "quality": "auto",
        "background": "opaque",
        "output_format": wanted.file_format,
    }


def _line(kind: str, document: dict[str, Any]) -> bytes:
    typed = document if kind == "error" else {"type": kind, **document}
    return f"event: {kind}\ndata: ".encode() + encoded(typed) + b"\n\n"


async def _joined(first: bytes, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for line in lines:
        yield line


def _missing(parameter: str, message: str) -> ServiceError:
    return ServiceError(Reason.INVALID_FIELD, message, violations=(FieldViolation(parameter, message),))


def _model(model: model_pb2.Model) -> dict[str, Any]:
    return {"id": model.model_id, "object": "model", "created": model.create_time.seconds, "owned_by": _OWNER}


def _alias(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": _OWNER}


def _json(document: dict[str, Any]) -> Response:
    return Response(encoded(document), media_type=JSON, headers={"cache-control": "no-store"})


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _upload_key(base: str, name: str) -> str:
    return f"edge-{hashlib.sha256(base.encode()).hexdigest()}-{name}"
