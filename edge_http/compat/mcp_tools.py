"""The studio as tools of the Model Context Protocol, by streamable HTTP at /mcp, for agents that draw for somebody.

Each request stands by itself (no sessions here), with the caller's own credential. An agent spends its owner's credits, so a
call that draws has a limit: what it could cost at most is compared before anything is held.
"""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Annotated, Any, Final

import grpc.aio
from fastapi import Request
from google.protobuf.message import Message
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent, ToolAnnotations
from pingvas.gallery.v1 import gallery_service_pb2, image_pb2
from pingvas.generation.v1 import generation_service_pb2, job_pb2
from pingvas.models.v1 import model_pb2, model_service_pb2
from pydantic import Field
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as AsgiMessage

from edge_http.answers import encoded, refusal_of, refused
from edge_http.compat.credentials import CallerCalls, credential_of
from edge_http.compat.jobs import Jobs, finished_images
from edge_http.compat.pictures import Pictures
from edge_http.documents import body_of
from edge_http.routing import Route, Router
from svc_common.errors import Reason, ServiceError
from svc_common.status import to_status

PATH: Final = "/mcp"
_INSTRUCTIONS: Final = (
    "Pingvas Studio draws pictures from prompts and keeps them in a gallery. generate spends credits of the owner: call quote "
    "first when a picture is large or when there are several, and ask before you raise max_credits."
)
_MOST_IMAGES: Final = 4
_PAGE: Final = 50
_DEFAULT_MAX_CREDITS: Final = 25.0
_READS: Final = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_DRAWS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
)

Prompt = Annotated[str, Field(min_length=1, max_length=2000, description="What to draw.")]
ModelId = Annotated[str, Field(max_length=100, description="A model of list_models; empty: the default one.")]
Side = Annotated[
    int, Field(ge=0, le=4096, multiple_of=8, description="Pixels, a multiple of 8 from 64; 0: the model's own.")
]
Steps = Annotated[int, Field(ge=0, le=150, description="Denoising steps; 0: the model's own.")]
Count = Annotated[int, Field(ge=1, le=_MOST_IMAGES, description="Number of pictures; each costs as much as the first.")]


class McpTools:
    """Serves the tools; an ASGI application for one path, which must run within `running`."""

    def __init__(self, router: Router, calls: CallerCalls, jobs: Jobs, pictures: Pictures) -> None:
        """Takes what jobs and pictures go through."""
        self._list_models = router.named("ModelService.ListModels")
        self._quote_job = router.named("GenerationService.QuoteJob")
        self._list_images = router.named("GalleryService.ListImages")
        self._calls = calls
        self._jobs = jobs
        self._pictures = pictures
        self._server = MCPServer(
            "pingvas-studio", title="Pingvas Studio", instructions=_INSTRUCTIONS, subscriptions=False
        )
        for tool in (self.list_models, self.quote, self.gallery):
            self._server.add_tool(tool, annotations=_READS)
        self._server.add_tool(self.generate, annotations=_DRAWS, structured_output=False)
        self._app: ASGIApp = self._server.streamable_http_app(
            streamable_http_path=PATH,
            stateless_http=True,
            # The edge's host isn't known here. What the check is for, a page that uses what its visitor's browser knows, finds
            # nothing: the token is in no cookie.
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )

    @property
    def route(self) -> StarletteRoute:
        """The route of the application."""
        return StarletteRoute(PATH, endpoint=self)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs what answers requests."""
        async with self._server.session_manager.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; without a credential it says which kind is wanted, as the protocol asks for."""
        request = Request(scope, receive)
        try:
            credential_of(request)
            # The protocol's own library reads a body of any size.
            content = await body_of(request)
        except ServiceError as error:
            answer = refused(to_status(error))
            if error.reason is Reason.CREDENTIALS_MISSING:
                answer.headers["www-authenticate"] = "Bearer"
            await answer(scope, receive, send)
        else:
            await self._app(scope, _again(content, receive), send)

    async def list_models(self, ctx: Context[Any, Any]) -> dict[str, Any]:
        """Lists the models that can draw, with what they are made for."""
        message = model_service_pb2.ListModelsRequest(page_size=200)
        page: model_service_pb2.ListModelsResponse = await self._call(self._list_models, message, ctx)
        return {"models": [_model(each) for each in page.models if each.kind == model_pb2.MODEL_KIND_CHECKPOINT]}

    async def quote(
        self,
        ctx: Context[Any, Any],
        prompt: Prompt,
        model_id: ModelId = "",
        width_px: Side = 0,
        height_px: Side = 0,
        step_count: Steps = 0,
        image_count: Count = 1,
    ) -> dict[str, Any]:
        """Tells what pictures would cost in credits, at most as well, and when they would start. Spends nothing."""
        operation = _operation(prompt, "", model_id, width_px, height_px, step_count, image_count, None)
        quote = await self._quote(operation, ctx)
        return {
            "credits": quote.credits,
            "credits_at_most": quote.credits_held,
            "estimated_wait_seconds": round(quote.estimated_wait_seconds, 1),
        }

    async def generate(
        self,
        ctx: Context[Any, Any],
        prompt: Prompt,
        negative_prompt: Annotated[str, Field(max_length=2000, description="What to avoid.")] = "",
        model_id: ModelId = "",
        width_px: Side = 0,
        height_px: Side = 0,
        step_count: Steps = 0,
        image_count: Count = 1,
        seed: Annotated[
            int | None, Field(ge=0, le=2**53 - 1, description="Makes it repeatable; absent: drawn.")
        ] = None,
        max_credits: Annotated[float, Field(gt=0, description="Refuses what could cost more.")] = _DEFAULT_MAX_CREDITS,
    ) -> CallToolResult:
        """Draws pictures, which spends credits, and waits until they are there. Reports progress in percent."""
        operation = _operation(prompt, negative_prompt, model_id, width_px, height_px, step_count, image_count, seed)
        most = (await self._quote(operation, ctx)).credits_held
        if Decimal(most) > Decimal(str(max_credits)):
            raise ToolError(
                f"This could cost up to {most} credits, more than max_credits ({max_credits:g}). Nothing was spent. "
                "Ask for less, or raise max_credits if the owner agrees."
            )
        request, message = _request(ctx), generation_service_pb2.CreateJobRequest(text_to_image=operation)
        try:
            async with self._jobs.begun(message, request, operation.SerializeToString(deterministic=True)) as events:
                async for event in events:
                    if event.HasField("progress"):
                        await ctx.report_progress(event.progress.percent, 100, "drawing")
                    if (images := finished_images(event)) is not None:
                        return await self._drawn(images, event.completed.credits_used, request)
        except ServiceError as error:
            raise ToolError(error.message) from error
        raise ToolError("The job ended without a word.")

    async def gallery(
        self,
        ctx: Context[Any, Any],
        page_size: Annotated[int, Field(ge=1, le=_PAGE, description="How many pictures.")] = 10,
        page_token: Annotated[str, Field(max_length=512, description="next_page_token of the page before.")] = "",
    ) -> dict[str, Any]:
        """Lists the owner's pictures, newest first. Their addresses are good for five minutes."""
        message = gallery_service_pb2.ListImagesRequest(page_size=page_size, page_token=page_token)
        page: gallery_service_pb2.ListImagesResponse = await self._call(self._list_images, message, ctx)
        return {"images": [_image(each) for each in page.images], "next_page_token": page.next_page_token}

    async def _drawn(self, made: list[job_pb2.JobImage], credits_used: str, request: Request) -> CallToolResult:
        """Returns a small picture of each for the agent to look at, and a link to the whole."""
        content: list[ContentBlock] = []
        told: list[dict[str, Any]] = []
        for each in made:
            image = await self._pictures.image(each.image_id, request)
            preview = await self._pictures.preview(await self._pictures.content(image))
            content += [
                ImageContent(data=base64.b64encode(preview).decode("ascii"), mime_type="image/webp"),
                ResourceLink(name=f"{image.image_id}.png", uri=image.content_url, mime_type=image.content_type),
            ]
            told.append({**_image(image), "seed": str(each.seed)})
        structured = {"images": told, "credits_used": credits_used}
        content.append(TextContent(text=encoded(structured).decode("utf-8")))
        return CallToolResult(content=content, structured_content=structured)

    async def _quote(self, operation: job_pb2.TextToImage, ctx: Context[Any, Any]) -> generation_service_pb2.JobQuote:
        message = generation_service_pb2.QuoteJobRequest(text_to_image=operation)
        quote: generation_service_pb2.JobQuote = await self._call(self._quote_job, message, ctx)
        return quote

    async def _call(self, route: Route, message: Message, ctx: Context[Any, Any]) -> Any:
        try:
            return await self._calls.unary(route, message, _request(ctx))
        except grpc.aio.AioRpcError as error:
            raise ToolError(refusal_of(error, route.method.area).message) from error
        except ServiceError as error:
            raise ToolError(error.message) from error


def _again(content: bytes, receive: Receive) -> Receive:
    """Returns what gives a body that was read already, and then what `receive` gives."""
    messages: list[AsgiMessage] = [{"type": "http.request", "body": content, "more_body": False}]

    async def given() -> AsgiMessage:
        return messages.pop() if messages else await receive()

    return given


def _request(ctx: Context[Any, Any]) -> Request:
    """Returns the HTTP request that carried the message."""
    request = ctx.request_context.request
    if not isinstance(request, Request):
        raise TypeError("a message that came by no HTTP request")
    return request


def _operation(
    prompt: str,
    negative_prompt: str,
    model_id: str,
    width_px: int,
    height_px: int,
    step_count: int,
    image_count: int,
    seed: int | None,
) -> job_pb2.TextToImage:
    operation = job_pb2.TextToImage(
        prompt=prompt,
        negative_prompt=negative_prompt,
        model_id=model_id,
        width_px=width_px,
        height_px=height_px,
        step_count=step_count,
        image_count=image_count,
    )
    if seed is not None:
        operation.seed = seed
    return operation


def _model(model: model_pb2.Model) -> dict[str, Any]:
    return {
        "model_id": model.model_id,
        "name": model.display_name,
        "family": model.family,
        "width_px": model.native_width_px,
        "height_px": model.native_height_px,
        "step_count": model.default_step_count,
        "operations": [model_pb2.Operation.Name(each).removeprefix("OPERATION_").lower() for each in model.operations],
    }


def _image(image: image_pb2.Image) -> dict[str, Any]:
    return {
        "image_id": image.image_id,
        "prompt": image.prompt,
        "model_id": image.model_id,
        "width_px": image.width_px,
        "height_px": image.height_px,
        "seed": str(image.seed),
        "url": image.content_url,
    }
