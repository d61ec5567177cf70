"""What the edge does for browsers and for the services behind it: security headers, retries, outlier detection."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from google.protobuf.message import Message
from pingvas.generation.v1 import generation_service_pb2, job_pb2

from edge_envoy.routes import GUARDED_METHODS
from edge_envoy.settings import Address, EdgeSettings
from svc_common.account_roles import AccountRole
from svc_common.clock import new_id
from svc_common.errors import Reason, dependency_unavailable
from tests.contract.surface import public_rpcs, rpc_named
from tests.factories.messages import JOB_ID, request_for
from tests.fakes.public_platform import PublicPlatform
from tests.harness_envoy import Edge, Metadata, running_edge, web_frame
from tests.harness_postgres import until
from tests.harness_service import Identities

GET_JOB, CREATE_JOB = rpc_named("GenerationService.GetJob"), rpc_named("GenerationService.CreateJob")
JOB = f"/api/v1/jobs/{JOB_ID}"
OUTLIER_STATISTICS = r"/stats?format=json&filter=outlier_detection\.ejections_detected_consecutive_local_origin"


@pytest.fixture
def caller(identities: Identities) -> Metadata:
    return identities.as_user(new_id(), role=AccountRole.ADMINISTRATOR)


async def test_every_answer_tells_browsers_to_run_nothing_and_guess_nothing(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    web = {"content-type": "application/grpc-web+proto", **dict(caller)}
    answers = {
        "answer": await edge.http.get(JOB, headers=dict(caller)),
        "refusal of the edge": await edge.http.get(JOB),
        "refusal of a service": await edge.http.post("/api/v1/generate/text-to-image", json={}, headers=dict(caller)),
        "no such address": await edge.http.get("/api/v1/nothing", headers=dict(caller)),
        "gRPC-web": await edge.http.post(GET_JOB.path, content=web_frame(b""), headers=web),
        "health": await edge.http.get("/healthz"),
    }
    for name, answer in answers.items():
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; frame-ancestors 'none'"), name
        assert answer.headers["x-content-type-options"] == "nosniff", name
        assert answer.headers["x-frame-options"] == "DENY", name
        assert answer.headers["referrer-policy"] == "no-referrer", name
        # Without TLS browsers ignore it.
        assert "strict-transport-security" not in answer.headers, name


async def test_read_is_repeated_when_its_service_is_away_for_a_moment_and_a_change_is_not(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    async def away_at_first(request: Message) -> Message:
        rpc = GET_JOB if isinstance(request, generation_service_pb2.GetJobRequest) else CREATE_JOB
        if len(platform.calls_of(rpc)) == 1:
            raise dependency_unavailable("svc_payment", "svc_payment doesn't answer. Retry with backoff.")
        return job_pb2.Job(job_id=JOB_ID)

    platform.answers[str(GET_JOB)] = platform.answers[str(CREATE_JOB)] = away_at_first

    assert (await edge.call(GET_JOB, request_for(str(GET_JOB)), caller)).job_id == JOB_ID
    refusal = await edge.refusal_by_grpc(CREATE_JOB, request_for(str(CREATE_JOB)), caller)

    assert refusal.reason is Reason.DEPENDENCY_UNAVAILABLE
    assert (len(platform.calls_of(GET_JOB)), len(platform.calls_of(CREATE_JOB))) == (2, 1)


@pytest_asyncio.fixture
async def lonely_edge(edge_settings: EdgeSettings, folder: Path) -> AsyncIterator[Edge]:
    """An edge whose svc_models can't be reached."""
    upstreams = {**edge_settings.upstreams, "models": Address("127.0.0.1", 1)}
    async with running_edge(replace(edge_settings, upstreams=upstreams), folder) as running:
        yield running


async def test_replica_that_cant_be_reached_is_detected_and_one_that_refuses_is_not(
    lonely_edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    async def away(_: Message) -> Message:
        raise dependency_unavailable("svc_payment", "svc_payment doesn't answer. Retry with backoff.")

    platform.answers[str(GET_JOB)] = away
    for path in (JOB, "/api/v1/models"):
        for _ in range(10):
            assert (await lonely_edge.http.get(path, headers=dict(caller))).status_code == 503

    async def is_detected() -> bool:
        return bool(await _detected(lonely_edge, "models"))

    await until(is_detected, within_seconds=60)
    assert await _detected(lonely_edge, "generation") == 0


async def _detected(edge: Edge, cluster: str) -> int:
    statistics = (await edge.admin.get(OUTLIER_STATISTICS)).json()["stats"]
    return sum(each["value"] for each in statistics if each["name"].startswith(f"cluster.{cluster}."))


def test_guarded_methods_are_methods_without_a_token() -> None:
    anonymous = {str(rpc) for rpc in public_rpcs() if rpc.is_anonymous}
    assert anonymous >= GUARDED_METHODS
