"""The FastAPI application: finds the method, reads the request, calls, and answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import grpc.aio
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from google.protobuf.message import Message

from edge_http.answers import JSON, defect, document_of, encoded, refused, status_of
from edge_http.calls import Calls
from edge_http.compat.a1111 import A1111
from edge_http.compat.credentials import CallerCalls
from edge_http.compat.jobs import Jobs
from edge_http.compat.mcp_tools import McpTools
from edge_http.compat.openai_images import OpenAiImages
from edge_http.compat.pictures import Pictures
from edge_http.documents import add_parameters, body_of, descriptor_of, malformed, message_of, read_json
from edge_http.live.socket_io import JobSockets
from edge_http.live.watching import Watching
from edge_http.live.websocket import QueueSocket
from edge_http.own_routes import Answer, routes_of
from edge_http.page import Page, wants_page
from edge_http.picture_bytes import PictureBytes
from edge_http.platform_status import PlatformStatus
from edge_http.presence import unless_gone
from edge_http.routing import Match, Router
from edge_http.session import PATH, REFRESH_PATH, SECOND_FACTOR_PATH, Sessions
from edge_http.sign_in import LINK_PATH, SignIns
from edge_http.streams import RESUME_FIELD, RESUME_HEADER, answer_stream
from edge_http.webhooks import Webhooks
from svc_common.errors import Reason, ServiceError
from svc_common.status import to_status

# A client repeats a request that it lost within a few seconds.
_COMPAT_GRACE: Final = timedelta(seconds=10)
OPENAPI_PATH: Final = "/openapi.json"
_NOT_ALLOWED: Final = 405
_CLIENT_GONE: Final = 499
_VERBS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

_log: Final = structlog.get_logger("edge_http")


def application(
    router: Router,
    calls: Calls,
    stopping: asyncio.Event,
    sessions: Sessions,
    sign_ins: SignIns,
    page: Page | None = None,
    webhooks: Webhooks | None = None,
    *,
    openapi: Path,
    compat_grace: timedelta = _COMPAT_GRACE,
) -> FastAPI:
    """Returns the application; `stopping` ends its streams and makes it not ready. `openapi` is the file of the document."""
    caller_calls = CallerCalls(router, calls)
    jobs, pictures = Jobs(router, caller_calls, stopping, compat_grace), Pictures(router, caller_calls)
    picture_bytes = PictureBytes(router, calls, caller_calls)
    mcp = McpTools(router, caller_calls, jobs, pictures)
    watching = Watching(router, caller_calls, stopping)
    sockets = JobSockets(router, caller_calls, watching)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with mcp.running():
            yield
        await sockets.close()
        await jobs.close()
        await pictures.close()
        await picture_bytes.close()
        await calls.close()
        if webhooks:
            await webhooks.close()

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)

    async def healthz() -> Response:
        return Response("ok\n", media_type="text/plain")

    async def readyz() -> Response:
        stops = stopping.is_set()
        return Response("stopping\n" if stops else "ok\n", 503 if stops else 200, media_type="text/plain")

    async def document() -> Response:
        return FileResponse(openapi, media_type=JSON, headers={"cache-control": "no-cache"})

    async def serve(request: Request) -> Response:
        path = request.path_params["path"]
        if page and (page.has(path) or (wants_page(request) and not path.startswith("api/"))):
            return await page.answer(request)
        return await _reported(request, _answer(request, router, calls, stopping))

    owners = (picture_bytes, sign_ins, PlatformStatus(calls), *([webhooks] if webhooks else []))
    for verb, at, answer in (
        *_routes_of_sessions(sessions, sign_ins),
        *(route for owner in owners for route in routes_of(owner)),
    ):
        app.add_api_route(at, _reporting(answer), methods=[verb])

    OpenAiImages(router, caller_calls, jobs, pictures).add_to(app)
    A1111(router, caller_calls, jobs, pictures).add_to(app)
    app.router.routes += [mcp.route, QueueSocket(watching, stopping).route, sockets.route]
    app.add_api_route(OPENAPI_PATH, document, methods=["GET", "HEAD"])
    app.add_api_route("/healthz", healthz, methods=["GET"])
    app.add_api_route("/readyz", readyz, methods=["GET"])
    app.add_api_route("/{path:path}", serve, methods=_VERBS)
    # A path that not even the pattern above fits, and a verb that HTTP doesn't have.
    app.add_exception_handler(404, _unrouted)
    app.add_exception_handler(_NOT_ALLOWED, _unrouted)
    return app


def _routes_of_sessions(sessions: Sessions, sign_ins: SignIns) -> Iterator[tuple[str, str, Answer]]:
    """Yields verb, path and answer of what the studio's page alone calls, and so no document tells of."""
    yield "POST", PATH, sessions.begin
    yield "DELETE", PATH, sessions.end
    yield "POST", REFRESH_PATH, sessions.renew
    yield "POST", SECOND_FACTOR_PATH, sessions.complete
    yield "POST", LINK_PATH, sign_ins.link


def _reporting(answer: Answer) -> Answer:
    async def reported(request: Request) -> Response:
        return await _reported(request, answer(request))

    return reported


async def _unrouted(request: Request, _: Exception) -> Response:
    return _no_method(request.method, ())


async def _reported(request: Request, answer: Any) -> Response:
    """Awaits an answer and logs it; whatever isn't a refusal is a defect, of which the caller learns nothing."""
    started = time.monotonic()
    try:
        response: Response = await answer
    except ServiceError as error:
        response = refused(to_status(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller is answered
        _log.error("http.failed", exc_info=error)
        response = refused(defect())
    _log.info(
        "http.request",
        method=request.method,
        path=request.scope["raw_path"].decode("ascii", "replace"),
        status=response.status_code,
        seconds=round(time.monotonic() - started, 4),
        request_id=request.headers.get("x-request-id", ""),
    )
    return response


async def _answer(request: Request, router: Router, calls: Calls, stopping: asyncio.Event) -> Response:
    match = router.find(request.method, request.scope["raw_path"].decode("ascii", "replace"))
    if not isinstance(match, Match):
        return _no_method(request.method, match)
    message = await _message(match, request)
    route = match.route
    if route.method.streams:
        return await answer_stream(calls.stream(route, message, request), route.method.area, request, stopping)
    try:
        response = await unless_gone(_result(calls.unary(route, message, request)), request)
    except grpc.aio.AioRpcError as error:
        return refused(status_of(error, route.method.area))
    if response is None:
        return Response(status_code=_CLIENT_GONE)
    document = document_of(response)
    part = route.binding.response_body
    return Response(encoded(document[part] if part else document), media_type=JSON)


async def _message(match: Match, request: Request) -> Message:
    """Returns the request message: the body first, then the path, then the query and the place to resume at."""
    binding, descriptor = match.route.binding, descriptor_of(match.route.request_class)
    fields: dict[str, Any] = {}
    if binding.body:
        document = read_json(await body_of(request))
        if binding.body != "*":
            fields = {binding.body: document}
        elif isinstance(document, dict):
            fields = document
        else:
            raise malformed("The body must be a JSON object.")
    for name, value in match.variables.items():
        if name in fields or descriptor.fields_by_name[name].json_name in fields:
            raise malformed(f"The field {name} is given by the path and by the body.", name)
        fields[name] = value
    add_parameters(descriptor, fields, _parameters(request))
    resumes = match.route.method.streams and RESUME_FIELD in descriptor.fields_by_name
    # Over `?after=`: that stays in an EventSource's address when it comes back with the place that it has reached.
    if resumes and (place := request.headers.get(RESUME_HEADER)):
        fields[RESUME_FIELD] = place
    return message_of(match.route.request_class, fields, binding.body.strip("*"))


def _parameters(request: Request) -> list[tuple[str, str]]:
    try:
        query = request.scope["query_string"].decode("ascii")
        return parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError as error:
        raise malformed("The query isn't UTF-8 in percent-encoding, or has too many parameters.") from error


async def _result(call: Any) -> Message:
    response: Message = await call
    return response


def _no_method(verb: str, allowed: tuple[str, ...]) -> Response:
    message = "No method has this path and HTTP verb. Compare them with the contract."
    if not allowed:
        return refused(to_status(ServiceError(Reason.METHOD_NOT_FOUND, message)))
    told = f"This path isn't served under {verb[:20]}. Use {' or '.join(allowed)}."
    response = refused(to_status(ServiceError(Reason.METHOD_NOT_FOUND, told)), _NOT_ALLOWED)
    response.headers["allow"] = ", ".join(allowed)
    return response
