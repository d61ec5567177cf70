"""How a service starts, refuses to start, shows its health, and ends."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from pingvas.common.v1.authorization_pb2 import Authorization
from pingvas.common.v1.role_pb2 import ROLE_SUPPORT
from pingvas.common.v1.scope_pb2 import SCOPE_READ

from svc_common.errors import Reason, ServiceError
from svc_common.interceptors.method import ContractError
from svc_common.server import Server
from svc_common.settings import ServiceSettings
from tests.factories.contracts import ANONYMOUS, USER, Contract, for_services, request_stream, stream, unary, unary_call
from tests.harness_postgres import UNREACHABLE_DATABASE
from tests.harness_service import Identities, refusal_of, running, settings_values

RULES = Contract(
    "rules",
    {
        "Ruleless": None,
        "ForUsers": USER,
        "ForAnybody": ANONYMOUS,
        "ForServices": for_services("gpu_worker"),
        "ForNoService": for_services(),
        "RoleForServices": Authorization(audience=3, callers=["gpu_worker"], role=ROLE_SUPPORT),
        "RoleForAnybody": Authorization(audience=1, role=ROLE_SUPPORT),
        "RoleWithScope": Authorization(audience=2, scope=SCOPE_READ, role=ROLE_SUPPORT),
        "Upload": USER,
        "Watch": USER,
    },
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def echo(request: StringValue, context: Any) -> StringValue:
    return request


async def endless(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
    yield request


def blocking(request: StringValue, context: Any) -> StringValue:
    return request


def registration(method: str, handler: Any) -> Any:
    return (lambda _, server: RULES.add_to_server({method: handler}, server), None)


def settings(identities: Identities, **own: Any) -> ServiceSettings:
    return ServiceSettings(**settings_values(identities, "svc_user", UNREACHABLE_DATABASE, **own))


@pytest.mark.parametrize(
    ("listener", "method", "handler", "complaint"),
    [
        ("public", "Ruleless", unary(echo), "has no authorization rule"),
        ("internal", "Ruleless", unary(echo), "has no authorization rule"),
        ("public", "ForServices", unary(echo), "may not be served on the PUBLIC listener"),
        ("internal", "ForUsers", unary(echo), "may not be served on the INTERNAL listener"),
        ("internal", "ForAnybody", unary(echo), "may not be served on the INTERNAL listener"),
        ("internal", "ForNoService", unary(echo), "`callers` must be given"),
        ("internal", "RoleForServices", unary(echo), "`role` may be given for AUDIENCE_USER only"),
        ("public", "RoleForAnybody", unary(echo), "`role` may be given for AUDIENCE_USER only"),
        ("public", "RoleWithScope", unary(echo), "`scope` may not be given with a role"),
        ("public", "Upload", request_stream(echo), "streams its requests"),
        ("public", "ForUsers", unary(blocking), "isn't implemented as a coroutine"),
        ("public", "Watch", stream(echo), "isn't implemented as an async generator"),
    ],
)
async def test_server_refuses_to_start_with_a_method_that_must_not_be_served(
    identities: Identities, listener: str, method: str, handler: Any, complaint: str
) -> None:
    with pytest.raises(ContractError, match=f"(?s)/{method}.*{complaint}"):
        Server(settings(identities), "svc_user", **{listener: [registration(method, handler)]})


async def test_server_starts_with_each_method_where_it_belongs(identities: Identities) -> None:
    server = Server(
        settings(identities),
        "svc_user",
        public=[registration("ForAnybody", unary(echo))],
        internal=[registration("ForServices", unary(echo))],
    )
    async with running(server) as service:
        answer = await unary_call(service.public, RULES.path("ForAnybody"))(StringValue(value="hello"))

    assert answer.value == "hello"


async def test_health_needs_no_credential_on_either_listener(identities: Identities) -> None:
    server = Server(settings(identities), "svc_user", public=[registration("ForUsers", unary(echo))])
    async with running(server) as service:
        for channel in (service.public, service.internal):
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert answer.status == SERVING
        named = health_pb2.HealthCheckRequest(service=RULES.service)
        assert (await health_pb2_grpc.HealthStub(service.public).Check(named)).status == SERVING


async def test_stopping_server_says_so_before_it_refuses_calls(identities: Identities) -> None:
    at_drain: list[int] = []
    began, may_end = asyncio.Event(), asyncio.Event()

    async def slow(request: StringValue, context: Any) -> StringValue:
        began.set()
        await may_end.wait()
        return request

    async def drain() -> None:
        answer = await health_pb2_grpc.HealthStub(service.public).Check(health_pb2.HealthCheckRequest())
        at_drain.append(answer.status)
        may_end.set()

    closed: list[str] = []

    async def close() -> None:
        closed.append("pool")

    parts: dict[str, Any] = {"on_drain": [drain], "on_stop": [close]}
    server = Server(settings(identities), "svc_user", public=[registration("ForAnybody", unary(slow))], **parts)
    async with running(server) as service:
        call = unary_call(service.public, RULES.path("ForAnybody"))(StringValue(value="kept"))
        await asyncio.wait_for(began.wait(), 5)
        await server.stop()
        answer = await call

    assert answer.value == "kept"
    assert at_drain == [NOT_SERVING]
    assert closed[0] == "pool"


async def test_call_that_outlives_the_grace_is_ended(identities: Identities) -> None:
    ended = asyncio.Event()
    began = asyncio.Event()

    async def stuck(request: StringValue, context: Any) -> StringValue:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return request

    server = Server(
        settings(identities, grace_seconds=0.1), "svc_user", public=[registration("ForAnybody", unary(stuck))]
    )
    async with running(server) as service:
        call = unary_call(service.public, RULES.path("ForAnybody"))(StringValue())
        await asyncio.wait_for(began.wait(), 5)
        await server.stop()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert ended.is_set()


async def test_background_work_is_told_to_end_and_waited_for(identities: Identities) -> None:
    events: list[str] = []

    async def work(stop: asyncio.Event) -> None:
        await stop.wait()
        await asyncio.sleep(0)
        events.append("work ended")

    async def close() -> None:
        events.append("pools closed")

    server = Server(settings(identities), "svc_user", background=[work], on_stop=[close])
    await server.start()
    await server.stop()

    assert events == ["work ended", "pools closed"]


async def test_failed_background_work_ends_the_process_with_its_error(identities: Identities) -> None:
    async def work(stop: asyncio.Event) -> None:
        raise RuntimeError("the sweep is broken")

    server = Server(settings(identities), "svc_user", background=[work])
    with pytest.raises(RuntimeError, match="the sweep is broken"):
        await asyncio.wait_for(server.serve(), 10)


async def test_taken_port_stops_the_start_with_a_clear_message(identities: Identities) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = Server(settings(identities, public_address=address), "svc_user")
        with pytest.raises(OSError, match=f"{address} can't be bound"):
            await server.start()


async def test_two_servers_do_not_share_a_port(identities: Identities) -> None:
    async with running(Server(settings(identities), "svc_user")) as first:
        address = f"127.0.0.1:{first.server.public_port}"
        with pytest.raises(OSError, match="can't be bound"):
            await Server(settings(identities, public_address=address), "svc_user").start()


@pytest.mark.parametrize("is_on", [True, False])
async def test_reflection_is_served_only_when_asked_for(identities: Identities, is_on: bool) -> None:
    server = Server(settings(identities, reflection=is_on), "svc_user", public=[registration("ForUsers", unary(echo))])
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async with running(server) as service:
        stub = reflection_pb2_grpc.ServerReflectionStub(service.public)
        if is_on:
            (answer,) = [each async for each in stub.ServerReflectionInfo(iter([request]))]
            names = [each.name for each in answer.list_services_response.service]
            # All of them, not only this server's own.
            assert {"pingvas.user.v1.AuthService", "pingvas.gallery.v1.GalleryService"} <= set(names)
        else:
            call = stub.ServerReflectionInfo()
            assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_metrics_and_liveness_are_served_over_http(identities: Identities) -> None:
    server = Server(settings(identities), "svc_user", public=[registration("ForUsers", unary(echo))])
    async with running(server) as service, httpx.AsyncClient() as http:
        await refusal_of(unary_call(service.public, RULES.path("ForUsers"))(StringValue()))
        base = f"http://127.0.0.1:{server.metrics_port}"
        liveness = await http.get(f"{base}/healthz")
        metrics = await http.get(f"{base}/metrics")
        nothing = await http.get(f"{base}/other")

    assert (liveness.status_code, nothing.status_code) == (200, 404)
    assert f'method="{RULES.path("ForUsers")}"' in metrics.text


async def test_process_ends_in_order_at_sigterm(identities: Identities, tmp_path: Path) -> None:
    program = tmp_path / "service.py"
    program.write_text(
        "from svc_common.server import Server, run\n"
        "from svc_common.settings import ServiceSettings, load\n"
        "settings = load(ServiceSettings)\n"
        "run(settings, lambda: Server(settings, 'svc_user'))\n"
    )
    values = settings_values(identities, "svc_user", UNREACHABLE_DATABASE)
    environment = {name.upper(): str(value) for name, value in values.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while b"server.started" not in await process.stderr.readline():
            assert process.returncode is None
        process.send_signal(signal.SIGTERM)
        rest = await process.stderr.read()
        await process.wait()

    assert process.returncode == 0
    assert b"server.stopped" in rest


async def test_failed_preparation_stops_the_start(identities: Identities) -> None:
    async def prepare() -> None:
        raise ServiceError(Reason.DEPENDENCY_UNAVAILABLE, "The store doesn't answer.")

    server = Server(settings(identities), "svc_user", on_start=[prepare])
    with pytest.raises(ServiceError, match="doesn't answer"):
        await server.start()
