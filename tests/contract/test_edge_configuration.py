"""How the edge treats what passes: browsers, headers, streams, time limits, health, logs; and that Envoy accepts it all."""

import asyncio
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
import yaml
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from pingvas.generation.v1 import job_event_pb2, job_pb2

from edge_envoy.configuration import edge_configuration, write_configuration
from edge_envoy.settings import Address, EdgeSettings, Objects
from edge_http.http_protocol import PROTOCOLS
from studio.stack.servers.envoy import program
from studio.stack.sockets import socket_path
from svc_common.account_roles import AccountRole
from svc_common.clock import new_id
from svc_common.errors import Reason
from tests.contract.surface import HttpRequest, public_rpcs, rpc_named
from tests.factories.messages import JOB_ID, request_for
from tests.fakes.public_platform import PublicPlatform
from tests.harness_envoy import Edge, Metadata, running_edge
from tests.harness_postgres import until
from tests.harness_service import Identities

GET_JOB, WATCH_JOB = rpc_named("GenerationService.GetJob"), rpc_named("GenerationService.WatchJob")
LIST_MODELS = rpc_named("ModelService.ListModels")
WATCHERS = 1_100
HEARTBEAT_SECONDS = 15
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def caller(identities: Identities) -> Metadata:
    return identities.as_user(new_id(), role=AccountRole.ADMINISTRATOR)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="as in production"),
        pytest.param({"reflection": True}, id="for developers"),
        pytest.param({"access_log": False}, id="without access log"),
        pytest.param({"bridge": None}, id="without bridge"),
        pytest.param({"objects": Objects(Address("10.0.0.9", 9000), "s3.example", "pictures")}, id="with objects"),
        pytest.param({"cors_origins": ("https://studio.example", "http://10.0.0.7:*")}, id="other origins"),
        pytest.param({"requests_per_second": 1, "request_burst": 1}, id="lowest rate"),
    ],
)
async def test_envoy_accepts_the_configuration(
    changes: dict[str, Any], edge_settings: EdgeSettings, folder: Path
) -> None:
    await assert_valid(replace(edge_settings, **changes), folder)


async def test_envoy_accepts_the_configuration_with_names_for_the_services(
    edge_settings: EdgeSettings, folder: Path
) -> None:
    upstreams = {area: Address(f"svc-{area}.pingvas.svc", 8000) for area in edge_settings.upstreams}
    settings = replace(edge_settings, upstreams=upstreams)
    assert {cluster["type"] for cluster in clusters(settings)} == {"STRICT_DNS"}
    await assert_valid(settings, folder)


async def assert_valid(settings: EdgeSettings, folder: Path) -> None:
    file = folder / "envoy.yaml"
    write_configuration(replace(settings, token_check=folder / "token-check.json"), file)
    process = await asyncio.create_subprocess_exec(
        program(), "--mode", "validate", "-c", file, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert b"deprecated" not in output.lower()


def clusters(settings: EdgeSettings) -> list[Any]:
    return list(yaml.safe_load(edge_configuration(settings))["static_resources"]["clusters"])


def connection_manager(settings: EdgeSettings) -> dict[str, Any]:
    listener = yaml.safe_load(edge_configuration(settings))["static_resources"]["listeners"][0]
    return dict(listener["filter_chains"][0]["filters"][0]["typed_config"])


def test_routes_are_the_public_methods_and_health_and_nothing_else(edge_settings: EdgeSettings) -> None:
    routes = connection_manager(edge_settings)["route_config"]["virtual_hosts"][0]["routes"]
    others = [
        route for route in routes if route["name"] in ("bridged", "compat", "sockets", "compressed", "unknown", "page")
    ]
    paths = [route["match"]["path"] for route in routes if route not in others]
    assert sorted(paths) == sorted([*(rpc.path for rpc in public_rpcs()), "/grpc.health.v1.Health/Check"])
    # What else there is leads to the bridge or nowhere.
    assert {route["route"]["cluster"] for route in others} == {"edge_http", "edge_http_sockets", "nowhere"}
    assert routes[-1]["match"] == {"prefix": "/"}
    assert routes[-1]["route"]["cluster_not_found_response_code"] == "NOT_FOUND"


def test_silence_between_two_heartbeats_ends_no_stream(edge_settings: EdgeSettings) -> None:
    idle_timeout = connection_manager(edge_settings)["stream_idle_timeout"]
    assert float(idle_timeout.removesuffix("s")) > 2 * HEARTBEAT_SECONDS


def test_request_of_another_api_may_wait_for_a_whole_job(edge_settings: EdgeSettings) -> None:
    routes = connection_manager(edge_settings)["route_config"]["virtual_hosts"][0]["routes"]
    compat = [route["route"] for route in routes if route["name"] == "compat"]
    # As long as OpenAI's clients wait.
    assert all(float(route["idle_timeout"].removesuffix("s")) > 600 for route in compat)
    assert {route["max_stream_duration"]["max_stream_duration"] for route in compat} == {"0s"}


@pytest.mark.parametrize("origin", ["http://localhost:5173", "http://localhost", "http://127.0.0.1:3000"])
async def test_preflight_from_a_known_origin_is_allowed(origin: str, edge: Edge) -> None:
    answer = await edge.http.options(
        f"/api/v1/jobs/{JOB_ID}",
        headers={
            "origin": origin,
            "access-control-request-method": "DELETE",
            "access-control-request-headers": "authorization,idempotency-key,last-event-id,x-grpc-web",
        },
    )
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert "DELETE" in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "content-type", "idempotency-key", "x-grpc-web", "grpc-timeout"} <= set(allowed)
    # Of EventSource, when it connects again.
    assert "last-event-id" in allowed


@pytest.mark.parametrize("origin", ["http://localhost.evil.example", "https://evil.example", "http://localhostx:80"])
async def test_other_origin_is_told_nothing(
    origin: str, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    preflight = {"origin": origin, "access-control-request-method": "GET"}
    assert "access-control-allow-origin" not in (await edge.http.options("/api/v1/models", headers=preflight)).headers
    answer = await edge.http.get("/api/v1/models", headers={**dict(caller), "origin": origin})
    assert "access-control-allow-origin" not in answer.headers


async def test_browser_may_read_answers_and_refusals_of_every_form(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    origin = ("origin", "http://localhost:5173")
    request = HttpRequest("GET", "/api/v1/models", {}, b"")
    answers = [
        await edge.call_http(request, (*caller, origin)),
        await edge.call_http(request, (origin,)),
        await edge.call_http(HttpRequest("GET", "/api/v1/nothing", {}, b""), (*caller, origin)),
        await edge.http.post(
            GET_JOB.path, headers={"content-type": "application/grpc-web+proto", origin[0]: origin[1]}
        ),
    ]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == origin[1]
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert {"grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id"} <= set(exposed)


async def test_identity_in_headers_never_reaches_a_service(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    forged = {
        "x-account-id": "1",
        "x-edge-test": "1",
        "x-forwarded-client-cert": "By=spiffe://pingvas/svc_payment",
        "x-tenant-id": "1",
        "x-tier": "enterprise",
        "x-user-id": "1",
    }
    await edge.call(GET_JOB, request_for(str(GET_JOB)), (*caller, *forged.items()))
    answer = await edge.http.get(f"/api/v1/jobs/{JOB_ID}", headers={**dict(caller), **forged})
    assert answer.status_code == 200
    assert [set(call.headers) & set(forged) for call in platform.calls] == [set()] * 2


async def test_envoy_s_own_headers_cant_be_forged(edge: Edge, platform: PublicPlatform, caller: Metadata) -> None:
    forged = (*caller, ("x-envoy-original-path", "/forged"), ("x-envoy-upstream-rq-timeout-ms", "1"))
    await edge.call(GET_JOB, request_for(str(GET_JOB)), forged)
    await edge.http.get(f"/api/v1/jobs/{JOB_ID}", headers=dict(forged))
    paths = [call.headers.get("x-envoy-original-path") for call in platform.calls]
    assert paths == [None, f"/api/v1/jobs/{JOB_ID}"]


def test_area_without_an_upstream_is_refused(edge_settings: EdgeSettings) -> None:
    upstreams = {area: address for area, address in edge_settings.upstreams.items() if area != "models"}
    with pytest.raises(ValueError, match="no upstream: models"):
        edge_configuration(replace(edge_settings, upstreams=upstreams))


async def test_request_id_of_the_client_goes_all_the_way_and_back(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    for name in ("from-the-client-1", str(new_id())):
        answer = await edge.http.get(f"/api/v1/jobs/{JOB_ID}", headers={**dict(caller), "x-request-id": name})
        assert answer.headers["x-request-id"] == name
        assert platform.calls[-1].headers["x-request-id"] == name
    unnamed = await edge.http.get("/api/v1/jobs/1")
    assert len(unnamed.headers["x-request-id"]) == 36


async def test_deadline_of_a_grpc_caller_reaches_the_service(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    await edge.call(GET_JOB, request_for(str(GET_JOB)), caller, deadline=5)
    remaining = platform.calls[0].remaining_seconds
    assert remaining is not None
    # gRPC rounds the deadline up on the wire.
    assert 0 < remaining < 5.5


@pytest_asyncio.fixture
async def hasty_edge(edge_settings: EdgeSettings, folder: Path) -> AsyncIterator[Edge]:
    """An edge that waits half a second for an answer, and whose svc_models takes connections but hangs."""
    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as hanging:
        upstreams = {**edge_settings.upstreams, "models": Address(*hanging.sockets[0].getsockname())}
        settings = replace(edge_settings, upstreams=upstreams, unary_timeout_seconds=0.5)
        async with running_edge(settings, folder) as running:
            yield running


async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65_536):
        pass
    writer.close()


async def test_deadline_of_the_caller_ends_a_call_that_hangs(hasty_edge: Edge, caller: Metadata) -> None:
    deadline = (*caller, ("grpc-timeout", "200m"))
    refusal = await hasty_edge.refusal_by_web(LIST_MODELS.path, request_for(str(LIST_MODELS)), deadline)
    assert refusal.reason == Reason.DEADLINE_TOO_SHORT


async def test_stream_outlives_the_time_limit_of_calls_that_hang(
    hasty_edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    limit_has_passed = asyncio.Event()

    async def two_events(_: Message) -> AsyncIterator[Message]:
        yield job_event_pb2.JobEvent(event_id="1")
        await limit_has_passed.wait()
        yield job_event_pb2.JobEvent(event_id="2")

    platform.streams[str(WATCH_JOB)] = two_events
    events = hasty_edge.watch(WATCH_JOB, request_for(str(WATCH_JOB)), caller)
    assert (await events.read()).event_id == "1"
    status, refusal = await hasty_edge.refusal_by_http(HttpRequest("GET", "/api/v1/models", {}, b""), caller)
    assert (status, refusal.reason) == (503, Reason.DEPENDENCY_UNAVAILABLE)
    assert refusal.metadata == {"dependency": "svc_models"}
    limit_has_passed.set()
    assert (await events.read()).event_id == "2"


async def test_request_that_trickles_in_is_ended_and_a_stream_of_answers_isn_t(
    edge_settings: EdgeSettings, folder: Path, platform: PublicPlatform, caller: Metadata
) -> None:
    request_has_ended = asyncio.Event()

    async def two_events(_: Message) -> AsyncIterator[Message]:
        yield job_event_pb2.JobEvent(event_id="1")
        await request_has_ended.wait()
        yield job_event_pb2.JobEvent(event_id="2")

    platform.streams[str(WATCH_JOB)] = two_events
    async with running_edge(replace(edge_settings, request_timeout_seconds=0.5), folder) as hurried:
        events = hurried.watch(WATCH_JOB, request_for(str(WATCH_JOB)), caller)
        assert (await events.read()).event_id == "1"
        reader, writer = await asyncio.open_connection("127.0.0.1", hurried.port)
        head = f"POST /api/v1/generate/text-to-image HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\nauthorization: {caller[0][1]}"
        writer.write(f'{head}\r\n\r\n{{"prompt": '.encode())
        async with asyncio.timeout(10):
            assert b" 408 " in await reader.readline()
        writer.close()
        request_has_ended.set()
        assert (await events.read()).event_id == "2"


async def test_more_than_a_thousand_watchers_leave_room_for_other_calls(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    release = asyncio.Event()

    async def one_then_wait(_: Message) -> AsyncIterator[Message]:
        yield job_event_pb2.JobEvent(event_id="1")
        await release.wait()
        yield job_event_pb2.JobEvent(event_id="2")

    platform.streams[str(WATCH_JOB)] = one_then_wait
    request = request_for(str(WATCH_JOB))
    streams = [edge.watch(WATCH_JOB, request, caller) for _ in range(WATCHERS)]
    async with asyncio.timeout(60):
        assert {event.event_id for event in await asyncio.gather(*(stream.read() for stream in streams))} == {"1"}
        job = await edge.call(GET_JOB, request_for(str(GET_JOB)), caller)
        assert isinstance(job, job_pb2.Job)
        release.set()
        assert {event.event_id for event in await asyncio.gather(*(stream.read() for stream in streams))} == {"2"}


async def test_health_of_the_edge_needs_no_token(edge: Edge) -> None:
    assert (await edge.http.get("/healthz")).status_code == 200


async def test_administration_is_reached_by_its_owner_only_and_not_from_a_web_page(
    edge_settings: EdgeSettings, folder: Path
) -> None:
    assert set(yaml.safe_load(edge_configuration(edge_settings))["admin"]["address"]) == {"pipe"}
    async with running_edge(edge_settings, folder) as running:
        assert (await running.admin.get("/ready")).status_code == 200
        assert stat.S_IMODE(socket_path(folder, "envoy-admin.sock").stat().st_mode) == 0o600


async def test_draining_edge_says_so(edge_settings: EdgeSettings, folder: Path) -> None:
    async with running_edge(edge_settings, folder) as draining:
        await draining.admin.post("/healthcheck/fail")
        assert (await draining.http.get("/healthz")).status_code == 503


async def test_health_of_the_platform_answers_by_grpc_without_a_token(edge: Edge) -> None:
    answer = await health_pb2_grpc.HealthStub(edge.channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_is_closed_unless_a_setting_opens_it(
    edge: Edge, edge_settings: EdgeSettings, folder: Path, caller: Metadata
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await listed_services(edge.channel, caller)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    async with running_edge(replace(edge_settings, reflection=True), folder) as open_edge:
        assert "pingvas.generation.v1.GenerationService" in await listed_services(open_edge.channel)


async def listed_services(channel: grpc.aio.Channel, metadata: Metadata = ()) -> list[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    answer = await stub.ServerReflectionInfo(requests, metadata=tuple(metadata)).read()
    return [service.name for service in answer.list_services_response.service]


async def test_access_log_names_the_request_and_holds_no_secret(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    request_id, token = str(new_id()), caller[0][1].removeprefix("Bearer ")
    await edge.http.get(
        "/api/v1/models",
        params={"page_token": "kept-out-of-logs"},
        headers={**dict(caller), "x-request-id": request_id, "traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"},
    )
    await edge.http.get("/api/v1/models", params={"access_token": token})
    # Logged after it would be a line of /healthz.
    await edge.http.get("/healthz")
    marker = str(new_id())
    await edge.http.get("/api/v1/models", headers={**dict(caller), "x-request-id": marker})

    async def is_logged() -> bool:
        return marker in edge.log.read_text()

    await until(is_logged)
    log = edge.log.read_text()
    entry = yaml.safe_load(next(line for line in log.splitlines() if request_id in line))
    assert (entry["method"], entry["path"], entry["status"]) == ("GET", "/api/v1/models", 200)
    assert entry["trace_id"] == TRACE_ID
    assert entry["rpc"] == "/pingvas.models.v1.ModelService/ListModels"
    assert token not in log
    assert "kept-out-of-logs" not in log
    assert "/healthz" not in log


def test_idle_connections_to_the_bridge_are_given_up_before_it_closes_them(edge_settings: EdgeSettings) -> None:
    found = yaml.safe_load(edge_configuration(edge_settings))["static_resources"]["clusters"]
    (options,) = (each["typed_extension_protocol_options"] for each in found if each["name"] == "edge_http")
    (protocol,) = options.values()
    idle = protocol["common_http_protocol_options"]["idle_timeout"]
    assert 0 < float(idle.removesuffix("s")) < PROTOCOLS["timeout_keep_alive"]
