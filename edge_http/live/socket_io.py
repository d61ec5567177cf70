"""Socket.IO at /ws/socket.io: clients subscribe to the account's queue or to single jobs, and get an event for each change.

Each subscription is a watch call of its own, so what a client gets doesn't depend on the process that serves it: svc_generation
fans events out over Redis already, and each has an id to resume behind. So many bridges serve clients side by side without a
message queue between them (docs/adr/0049). Only the requests of one long-polling session must reach one process.
"""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import socketio
import structlog
from pingvas.models.v1 import model_service_pb2
from socketio.exceptions import ConnectionRefusedError as SocketRefused
from starlette.requests import HTTPConnection
from starlette.routing import Mount

from edge_http.answers import defect, document_of
from edge_http.compat.credentials import CallerCalls, credential_of, with_credential
from edge_http.documents import malformed
from edge_http.live.watching import Events, Watching
from edge_http.routing import Router
from svc_common.concurrency import end_tasks
from svc_common.errors import ServiceError
from svc_common.status import to_status

PATH: Final = "/ws/socket.io"
_MESSAGE_BYTES: Final = 64 << 10
_PING_SECONDS: Final = 20
# Packets that may wait for one client in memory. Beyond them its watch call waits, and misses steps but no change of state.
_WAITING_PACKETS: Final = 32
_MOST_SUBSCRIPTIONS: Final = 100
_QUEUE: Final = "queue"
_AUTH_RULE: Final = 'Connect with auth {"token": "<access token or API key>"}.'

_log: Final = structlog.get_logger("edge_http.live")

Ack: TypeAlias = dict[str, Any]


@dataclass(slots=True)
class _Client:
    """One connected client: who it is, and the tasks that send it events, by job id or `queue`."""

    connection: HTTPConnection
    subscriptions: "dict[str, asyncio.Task[None]]" = field(default_factory=dict)


class JobSockets:
    """Serves the clients of one process."""

    def __init__(self, router: Router, calls: CallerCalls, watching: Watching) -> None:
        """Takes what calls go through."""
        self._list_models = router.named("ModelService.ListModels")
        self._calls = calls
        self._watching = watching
        self._clients: dict[str, _Client] = {}
        self._server = socketio.AsyncServer(
            async_mode="asgi",
            # Envoy's, which answers for all paths. Credentials are in messages, so a foreign page has nothing to use.
            cors_allowed_origins=[],
            max_http_buffer_size=_MESSAGE_BYTES,
            http_compression=False,
            ping_interval=_PING_SECONDS,
        )
        self._server.on("connect", self._connect)
        self._server.on("disconnect", self._disconnect)
        self._server.on("subscribe_queue", self._subscribe_queue)
        self._server.on("subscribe_job", self._subscribe_job)
        self._server.on("unsubscribe", self._unsubscribe)

    @property
    def route(self) -> Mount:
        """The route of the protocol's requests."""
        return Mount(PATH, app=socketio.ASGIApp(self._server, socketio_path=PATH))

    async def close(self) -> None:
        """Ends the subscriptions and what watches over the connections."""
        tasks = [task for client in self._clients.values() for task in client.subscriptions.values()]
        await end_tasks(*tasks)
        await self._server.shutdown()

    async def _connect(self, sid: str, environ: dict[str, Any], auth: object) -> None:
        """Lets a service judge the credential; raises the protocol's refusal, whose data is the google.rpc.Status."""
        try:
            connection = _caller(environ, auth)
            await self._calls.answer(self._list_models, model_service_pb2.ListModelsRequest(page_size=1), connection)
        except ServiceError as refusal:
            raise SocketRefused(refusal.message, document_of(to_status(refusal))) from refusal
        self._clients[sid] = _Client(connection)

    async def _disconnect(self, sid: str, _: str) -> None:
        client = self._clients.pop(sid, None)
        if client is not None:
            await end_tasks(*client.subscriptions.values())

    async def _subscribe_queue(self, sid: str, data: object = None) -> Ack:
        """Subscribes to all jobs of the account: `{"queue_id"?, "after"?}`."""
        return await self._answer(sid, self._watching_queue, data)

    async def _subscribe_job(self, sid: str, data: object = None) -> Ack:
        """Subscribes to one job: `{"job_id", "after"?}`."""
        return await self._answer(sid, self._watching_job, data)

    async def _unsubscribe(self, sid: str, data: object = None) -> Ack:
        """Ends a subscription: `{"job_id"}`, or nothing for that to the queue."""
        return await self._answer(sid, self._ending, data)

    async def _answer(self, sid: str, act: Any, data: object) -> Ack:
        """Returns what the client is acknowledged: `{}`, or `{"error": google.rpc.Status}`, which is an event as well."""
        client = self._clients.get(sid)
        if client is None:
            return {}  # it has just gone
        try:
            await act(sid, client, data)
        except ServiceError as refusal:
            document = document_of(to_status(refusal))
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is answered
            _log.error("live.failed", exc_info=error)
            document = document_of(defect())
        else:
            return {}
        await self._server.emit("subscription_error", {"error": document}, to=sid)
        return {"error": document}

    async def _watching_queue(self, sid: str, client: _Client, data: object) -> None:
        fields = _fields(data, "queue_id", "after")
        events = await self._watching.queue(fields.get("queue_id", ""), fields.get("after", ""), client.connection)
        await self._begin(sid, client, _QUEUE, events)

    async def _watching_job(self, sid: str, client: _Client, data: object) -> None:
        fields = _fields(data, "job_id", "after")
        job_id = fields.get("job_id", "")
        await self._begin(sid, client, job_id, self._watching.job(job_id, fields.get("after", ""), client.connection))

    async def _ending(self, _: str, client: _Client, data: object) -> None:
        task = client.subscriptions.pop(_fields(data, "job_id").get("job_id", _QUEUE), None)
        if task is not None:
            await end_tasks(task)

    async def _begin(self, sid: str, client: _Client, name: str, events: Events) -> None:
        """Begins a subscription, in the place of one of the same name; returns when its call was accepted."""
        others = client.subscriptions.keys() - {name}
        if others and _QUEUE in {name, *others}:
            raise malformed("Subscribe to the queue or to single jobs, not to both: events would come twice.")
        if len(others) >= _MOST_SUBSCRIPTIONS:
            raise malformed(
                f"A socket has at most {_MOST_SUBSCRIPTIONS} subscriptions. Subscribe to the queue instead."
            )
        if before := client.subscriptions.pop(name, None):
            await end_tasks(before)
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._forward(sid, client, name, events, accepted))
        client.subscriptions[name] = task
        await accepted

    async def _forward(
        self, sid: str, client: _Client, name: str, events: Events, accepted: "asyncio.Future[None]"
    ) -> None:
        """Sends events as they come, none while many wait for the client."""
        try:
            async with aclosing(events):
                async for event in events:
                    if not accepted.done():
                        accepted.set_result(None)
                    kind = event.WhichOneof("detail")
                    if kind != "heartbeat":  # the protocol has its own
                        await self._server.emit(f"job_{kind}", document_of(event), to=sid)
                        await self._until_taken(sid)
        except ServiceError as refusal:
            if accepted.done():
                told = {"subscription": name, "error": document_of(to_status(refusal))}
                await self._server.emit("subscription_error", told, to=sid)
            else:
                accepted.set_exception(refusal)
        finally:
            if not accepted.done():
                accepted.set_result(None)
            if client.subscriptions.get(name) is asyncio.current_task():
                del client.subscriptions[name]

    async def _until_taken(self, sid: str) -> None:
        engine_id = self._server.manager.eio_sid_from_sid(sid, "/")
        socket = self._server.eio.sockets.get(engine_id)
        if socket is not None and socket.queue.qsize() >= _WAITING_PACKETS:
            await socket.queue.join()


def _caller(environ: dict[str, Any], auth: object) -> HTTPConnection:
    """Returns a client's connection with its credential: that of the connection's payload, else that of its headers."""
    scope = environ["asgi.scope"]
    if auth is None:
        connection = HTTPConnection(scope)
        credential_of(connection)
        return connection
    token = auth.get("token") if isinstance(auth, dict) else None
    if not isinstance(token, str):
        raise malformed(_AUTH_RULE, "auth")
    return with_credential(scope, token)


def _fields(data: object, *known: str) -> dict[str, str]:
    """Returns what an event brought; raises ServiceError for what isn't an object of known strings."""
    if data is None:
        return {}
    if not isinstance(data, dict) or not set(data) <= set(known):
        raise malformed(f"The event's data must be an object with {' and '.join(known)} only.")
    for name, value in data.items():
        if not isinstance(value, str):
            raise malformed(f"{name} must be a string.", name)
    return data
