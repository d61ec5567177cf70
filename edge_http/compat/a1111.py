"""The API of AUTOMATIC1111's web UI, for programs that speak no other: they need this host's address and a key.

It is thin over CreateJob and WatchJob, as `openai_images` is. What was global there is one caller's here: the chosen model, the
progress, what is interrupted. A choice is kept in this process only, and by the credential: a request that must not lose its
model names it in `override_settings`.
"""

import base64
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request, Response
from google.protobuf.message import Message
from pingvas.generation.v1 import generation_service_pb2, job_event_pb2, job_pb2, recipe_service_pb2
from pingvas.models.v1 import model_pb2, model_service_pb2

from edge_http.answers import JSON, encoded
from edge_http.compat.a1111_answers import NOTHING_RECALLED, drawing_of, info, parameters, progress, recalled
from edge_http.compat.a1111_errors import refused
from edge_http.compat.a1111_requests import (
    CHECKPOINT,
    DEFAULT_MODEL,
    ignored_in,
    image_to_image,
    model_of,
    picture_of,
    source_of,
    text_to_image,
    upscale,
)
from edge_http.compat.a1111_samplers import OWN, name_of
from edge_http.compat.credentials import CallerCalls, credential_of
from edge_http.compat.fields import flag, text
from edge_http.compat.jobs import Jobs, finished_images
from edge_http.compat.pictures import Pictures, without_pixels
from edge_http.documents import body_of, malformed, read_json
from edge_http.presence import unless_gone
from edge_http.routing import Route, Router
from svc_common.clock import new_id
from svc_common.decoding import PictureRefusedError
from svc_common.errors import Reason, ServiceError, invalid_field

PREFIX: Final = "/sdapi/v1"
PING: Final = "/internal/ping"
_CLIENT_GONE: Final = 499
_MOST_CHOICES: Final = 10_000
_PREVIEW: Final = "png"
# Two pictures in base64. More would be held in memory than is worth it: an upload of its own may have 32 MiB.
BODY_BYTES: Final = 48 << 20
_PICTURE_FIELDS: Final = {"extra-single-image": "image", "png-info": "image"}
# The cause that a picture without notes is refused for.
_NO_RECIPE: Final = "none"
# Asked for when programs connect; there is nothing of the kind here.
_NOTHING: Final[dict[str, Any]] = {
    "latent-upscale-modes": [],
    "sd-vae": [],
    "sd-modules": [],
    "hypernetworks": [],
    "face-restorers": [],
    "realesrgan-models": [],
    "prompt-styles": [],
    "script-info": [],
    "scripts": {"txt2img": [], "img2img": []},
    "embeddings": {"loaded": {}, "skipped": {}},
    "cmd-flags": {},
}
# Programs send these to have a list read anew; every list here is.
_REFRESHED: Final = ("refresh-checkpoints", "refresh-loras", "refresh-vae", "refresh-embeddings")
_SCHEDULER: Final = {
    "name": "automatic",
    "label": OWN,
    "aliases": None,
    "default_rho": -1.0,
    "need_inner_model": False,
}

_log: Final = structlog.get_logger("edge_http.compat")

_Answer = Callable[[Request], Awaitable[Any]]


class A1111:
    """Answers the requests below /sdapi/v1."""

    def __init__(self, router: Router, calls: CallerCalls, jobs: Jobs, pictures: Pictures) -> None:
        """Takes what jobs and pictures go through."""
        self._list_models = router.named("ModelService.ListModels")
        self._get_model = router.named("ModelService.GetModel")
        self._get_job = router.named("GenerationService.GetJob")
        self._read_recipe = router.named("RecipeService.ReadRecipe")
        self._calls = calls
        self._jobs = jobs
        self._pictures = pictures
        # The model that each caller has chosen, by the hash of the credential; the one that was asked for last is the last.
        self._chosen: OrderedDict[str, str] = OrderedDict()

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes; every other path below the prefix is refused in their form."""
        app.add_api_route(PING, _reporting(_ping), methods=["GET", "HEAD"])
        for verb, path, answer in self._routes():
            app.add_api_route(f"{PREFIX}/{path}", _reporting(answer), methods=[verb])
        verbs = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
        app.add_api_route(PREFIX + "/{path:path}", _reporting(_unknown), methods=verbs)

    def _routes(self) -> Iterator[tuple[str, str, _Answer]]:
        yield "POST", "txt2img", self.text_to_image
        yield "POST", "img2img", self.image_to_image
        yield "POST", "extra-single-image", self.upscale
        yield "POST", "png-info", self.recall
        yield "GET", "progress", self.progress
        yield "POST", "interrupt", self.interrupt
        yield "POST", "skip", self.interrupt
        yield "GET", "options", self.options
        yield "POST", "options", self.choose
        yield "GET", "sd-models", self.models
        yield "GET", "loras", self.loras
        yield "GET", "upscalers", self.upscalers
        yield "GET", "samplers", self.samplers
        yield "GET", "schedulers", self.schedulers
        for name in _NOTHING:
            yield "GET", name, self.nothing
        for name in _REFRESHED:
            yield "POST", name, self.refresh

    async def text_to_image(self, request: Request) -> Any:
        """Makes pictures from a prompt."""
        credential_of(request)
        content = await body_of(request)
        fields = _object(content)
        message = text_to_image(fields, self._choice_of(request))
        return await _unless_gone(self._drawn(request, message, fields, content), request)

    async def image_to_image(self, request: Request) -> Any:
        """Makes pictures from a picture, or repaints the part of it where the mask is white."""
        content = await self._large_body_of(request)
        fields = _object(content)
        source = source_of(fields)
        mask = await self._mask(fields)
        # Judged with ids that stand for pictures, before any is kept.
        image_to_image(fields, "", "", None if mask is None else "")
        keys = _UploadKeys(request)
        source_id = await self._pictures.upload(source, keys.of("image"), request)
        mask_id = None if mask is None else await self._pictures.upload(mask, keys.of("mask"), request)
        message = image_to_image(fields, self._choice_of(request), source_id, mask_id)
        return await _unless_gone(self._drawn(request, message, fields, content), request)

    async def upscale(self, request: Request) -> Any:
        """Makes a picture larger."""
        content = await self._large_body_of(request)
        fields = _object(content)
        upscale(fields, "")
        source_id = await self._pictures.upload(
            picture_of(fields.get("image"), "image"), _UploadKeys(request).of("image"), request
        )
        return await _unless_gone(self._enlarged(request, upscale(fields, source_id), content), request)

    async def recall(self, request: Request) -> Any:
        """Tells what made a picture, by its own notes; nothing for one that has none."""
        fields = _object(await self._large_body_of(request))
        picture = without_pixels(picture_of(fields.get("image"), "image"))
        message = recipe_service_pb2.ReadRecipeRequest(picture=picture)
        try:
            return recalled(await self._call(self._read_recipe, message, request))
        except ServiceError as error:
            if error.reason is Reason.RECIPE_INVALID and error.metadata.get("cause") == _NO_RECIPE:
                return NOTHING_RECALLED
            raise

    async def progress(self, request: Request) -> Any:
        """Tells how far the oldest of the caller's open jobs is, with a picture of it."""
        mine = self._jobs.open_for(request, PREFIX)
        if not mine:
            await self._judge(request)
        preview = mine[0].preview_jpeg if mine else b""
        is_wanted = bool(preview) and not flag(request.query_params, "skip_current_image")
        return progress(mine, _base64(await self._pictures.converted(preview, _PREVIEW)) if is_wanted else None)

    async def interrupt(self, request: Request) -> Any:
        """Cancels the jobs that the caller has begun here."""
        mine = self._jobs.open_for(request, PREFIX)
        if not mine:
            await self._judge(request)
        for begun in mine:
            await self._jobs.interrupt(begun)
        return {}

    async def options(self, request: Request) -> Any:
        """Tells the caller's model, and what else programs look for."""
        await self._judge(request)
        return {
            CHECKPOINT: self._choice_of(request) or DEFAULT_MODEL,
            "sd_checkpoint_hash": "",
            "sd_vae": OWN,
            "CLIP_stop_at_last_layers": 1,
            "samples_format": "png",
            "show_progress_type": "Full",
        }

    async def choose(self, request: Request) -> Any:
        """Chooses the caller's model, if one is named; programs send all options back, and the others have no effect."""
        credential_of(request)
        fields = _object(await body_of(request))
        if not fields.get(CHECKPOINT):
            await self._judge(request)
            return None
        model_id = model_of(text(fields, CHECKPOINT))
        if model_id:
            message = model_service_pb2.GetModelRequest(model_id=model_id)
            model: model_pb2.Model = await self._call(self._get_model, message, request)
            _refuse_lora(model)
        else:
            await self._judge(request)
        self._choose(request, model_id)
        return None

    async def models(self, request: Request) -> Any:
        """Lists the models that the caller's tier reaches, behind the name that stands for the default one."""
        found = [each async for each in self._models(request) if each.kind == model_pb2.MODEL_KIND_CHECKPOINT]
        return [_model(name) for name in (DEFAULT_MODEL, *(each.model_id for each in found))]

    async def loras(self, request: Request) -> Any:
        """Lists the LoRAs by the names that prompts have for them: `<lora:name:weight>`."""
        found = [each async for each in self._models(request) if each.kind == model_pb2.MODEL_KIND_LORA]
        return [{"name": each.model_id, "alias": each.model_id, "path": "", "metadata": {}} for each in found]

    async def upscalers(self, request: Request) -> Any:
        """Lists the models that make pictures larger, behind `None`."""
        found = [
            each.model_id async for each in self._models(request) if model_pb2.OPERATION_UPSCALE in each.operations
        ]
        none = {"model_name": None, "model_path": None, "model_url": None, "scale": 1}
        return [{"name": "None", **none}, *({"name": name, **none, "model_name": name, "scale": 4} for name in found)]

    async def samplers(self, request: Request) -> Any:
        """Lists the samplers of the caller's model, or of all models, behind the one that stands for a model's own."""
        chosen = self._choice_of(request)
        ours = [
            name
            async for each in self._models(request)
            if not chosen or each.model_id == chosen
            for name in each.schedulers
        ]
        return [_sampler(OWN, []), *(_sampler(name_of(name), [name]) for name in dict.fromkeys(ours))]

    async def schedulers(self, request: Request) -> Any:
        """Lists the spacings of noise levels: the model's own is the only one."""
        await self._judge(request)
        return [_SCHEDULER]

    async def nothing(self, request: Request) -> Any:
        """Answers that there is nothing of what is asked for."""
        await self._judge(request)
        return _NOTHING[request.url.path.rpartition("/")[2]]

    async def refresh(self, request: Request) -> Any:
        """Does nothing."""
        await self._judge(request)

    async def _drawn(
        self,
        request: Request,
        message: generation_service_pb2.CreateJobRequest,
        fields: dict[str, Any],
        content: bytes,
    ) -> dict[str, Any]:
        """Waits for a job's pictures, and returns them with what became of the request."""
        ignored = ignored_in(fields)
        async with self._jobs.begun(message, request, content) as events:
            job_id, images = await _ended(events)
            job: job_pb2.Job = await self._call(
                self._get_job, generation_service_pb2.GetJobRequest(job_id=job_id), request
            )
            if (drawn := drawing_of(job)) is None:
                raise ServiceError(Reason.INTERNAL, "The job has become another.")
            is_wanted = fields.get("send_images") is not False
            encoded_images = [await self._content(each, request) for each in images] if is_wanted else []
            told = info(fields, drawn, images, ignored)
            return {"images": encoded_images, "parameters": parameters(fields), "info": told}

    async def _enlarged(
        self, request: Request, message: generation_service_pb2.CreateJobRequest, content: bytes
    ) -> dict[str, Any]:
        async with self._jobs.begun(message, request, content) as events:
            _, images = await _ended(events)
            return {"html_info": "", "image": await self._content(images[0], request)}

    async def _mask(self, fields: dict[str, Any]) -> bytes | None:
        """Returns the mask as ours is, white where the picture is repainted."""
        if not fields.get("mask"):
            return None
        mask = picture_of(fields["mask"], "mask")
        try:
            return await self._pictures.inverted_mask(mask) if flag(fields, "inpainting_mask_invert") else mask
        except PictureRefusedError as error:
            raise invalid_field("mask", str(error)) from error

    async def _large_body_of(self, request: Request) -> bytes:
        """Returns a body that may hold pictures; a credential is judged before megabytes are read."""
        await self._judge(request)
        return await body_of(request, limit_bytes=BODY_BYTES)

    async def _content(self, made: job_pb2.JobImage, request: Request) -> str:
        image = await self._pictures.image(made.image_id, request)
        return _base64(await self._pictures.content(image))

    async def _models(self, request: Request) -> AsyncIterator[model_pb2.Model]:
        token = ""
        while True:
            message = model_service_pb2.ListModelsRequest(page_size=200, page_token=token)
            page: model_service_pb2.ListModelsResponse = await self._call(self._list_models, message, request)
            for each in page.models:
                yield each
            token = page.next_page_token
            if not token:
                return

    async def _judge(self, request: Request) -> None:
        """Lets a service judge the credential, where nothing else does."""
        await self._call(self._list_models, model_service_pb2.ListModelsRequest(page_size=1), request)

    async def _call(self, route: Route, message: Message, request: Request) -> Any:
        return await self._calls.answer(route, message, request)

    def _choice_of(self, request: Request) -> str:
        """Returns the id of the model that a caller has chosen; empty for the default one."""
        owner = _owner(request)
        if owner in self._chosen:
            self._chosen.move_to_end(owner)
        return self._chosen.get(owner, "")

    def _choose(self, request: Request, model_id: str) -> None:
        self._chosen[_owner(request)] = model_id
        self._chosen.move_to_end(_owner(request))
        if len(self._chosen) > _MOST_CHOICES:
            self._chosen.popitem(last=False)


def _reporting(answer: _Answer) -> Callable[[Request], Awaitable[Response]]:
    async def reported(request: Request) -> Response:
        try:
            document = await answer(request)
            response = document if isinstance(document, Response) else _json(document)
        except ServiceError as error:
            response = refused(error, _PICTURE_FIELDS.get(request.url.path.removeprefix(f"{PREFIX}/"), "init_images"))
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller is answered
            _log.error("http.failed", exc_info=error)
            response = refused(ServiceError(Reason.INTERNAL, "The server failed. Repeat the request."))
        _log.info("http.request", method=request.method, path=request.url.path, status=response.status_code)
        return response

    return reported


async def _ping(_: Request) -> dict[str, Any]:
    return {}


async def _unknown(request: Request) -> Any:
    words = f"Unknown request: {request.method} {request.url.path[:100]}. docs/a1111.md lists what there is."
    raise ServiceError(Reason.METHOD_NOT_FOUND, words)


class _UploadKeys:
    """What uploads are known by: the same for the same request, so that a repeated one finds them, and is the same job."""

    def __init__(self, request: Request) -> None:
        """Takes the request, which may have an idempotency key."""
        self._base = request.headers.get("idempotency-key") or str(new_id())

    def of(self, name: str) -> str:
        """Returns the key of one of a request's pictures."""
        return f"edge-{hashlib.sha256(self._base.encode()).hexdigest()}-{name}"


async def _unless_gone(answering: Coroutine[Any, Any, dict[str, Any]], request: Request) -> Any:
    answer = await unless_gone(answering, request)
    return Response(status_code=_CLIENT_GONE) if answer is None else answer


async def _ended(events: AsyncIterator[job_event_pb2.JobEvent]) -> tuple[str, list[job_pb2.JobImage]]:
    """Returns a job's id and its pictures when it is completed."""
    async for event in events:
        if (images := finished_images(event)) is not None:
            return event.job_id, images
    raise ServiceError(Reason.INTERNAL, "The job ended without a word.")


def _object(content: bytes) -> dict[str, Any]:
    fields = read_json(content)
    if not isinstance(fields, dict):
        raise malformed("The body must be a JSON object.")
    return fields


def _refuse_lora(model: model_pb2.Model) -> None:
    if model.kind == model_pb2.MODEL_KIND_LORA:
        words = f"{model.model_id} is a LoRA: write <lora:{model.model_id}:1> into the prompt."
        raise ServiceError(Reason.MODEL_NOT_FOUND, words, metadata={"model_id": model.model_id})


def _model(name: str) -> dict[str, Any]:
    return {"title": name, "model_name": name, "hash": None, "sha256": None, "filename": name, "config": None}


def _sampler(name: str, aliases: list[str]) -> dict[str, Any]:
    return {"name": name, "aliases": aliases, "options": {}}


def _owner(request: Request) -> str:
    return hashlib.sha256(credential_of(request).encode("utf-8", "surrogateescape")).hexdigest()


def _json(document: Any) -> Response:
    return Response(encoded(document), media_type=JSON, headers={"cache-control": "no-store"})


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
