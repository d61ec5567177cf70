"""What the bridge tells of the platform's parts, asked of real servers by the health protocol."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import grpc.aio
import pytest
import pytest_asyncio
from fastapi import Request
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from edge_http.calls import Calls
from edge_http.platform_status import PlatformStatus
from svc_common.health_names import STORAGE_HEALTH, WORKERS_HEALTH
from tests.harness_envoy import Edge

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(slots=True)
class Part:
    """The health of one area's service."""

    servicer: health.HealthServicer = field(default_factory=health.HealthServicer)
    server: grpc.aio.Server = field(default_factory=grpc.aio.server)

    async def start(self) -> str:
        health_pb2_grpc.add_HealthServicer_to_server(self.servicer, self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        for name in ("", STORAGE_HEALTH):
            await self.servicer.set(name, SERVING)
        return f"127.0.0.1:{port}"


@pytest_asyncio.fixture
async def parts() -> dict[str, Part]:
    return {area: Part() for area in ("user", "generation")}


@pytest.fixture
def seconds() -> list[float]:
    """The time that passes only when a test says so."""
    return [0.0]


@pytest_asyncio.fixture
async def status(parts: dict[str, Part], seconds: list[float]) -> AsyncIterator[PlatformStatus]:
    calls = Calls({area: await part.start() for area, part in parts.items()}, timedelta(seconds=15))
    yield PlatformStatus(calls, lambda: seconds[0])
    await calls.close()
    for part in parts.values():
        await part.server.stop(None)


async def states(status: PlatformStatus) -> dict[str, str]:
    answer = json.loads((await status.answer(Request({"type": "http"}))).body)
    return {each["part"]: each["state"] for each in answer["parts"]}


async def test_parts_are_as_their_services_say(status: PlatformStatus, parts: dict[str, Part]) -> None:
    await parts["generation"].servicer.set(WORKERS_HEALTH, SERVING)
    assert await states(status) == {"accounts": "up", "generation": "up", "workers": "up", "storage": "up"}


async def test_answer_is_remembered_for_a_moment(
    status: PlatformStatus, parts: dict[str, Part], seconds: list[float]
) -> None:
    await parts["generation"].servicer.set(WORKERS_HEALTH, NOT_SERVING)
    await parts["user"].servicer.set(STORAGE_HEALTH, NOT_SERVING)
    assert await states(status) == {"accounts": "up", "generation": "up", "workers": "down", "storage": "down"}
    await parts["generation"].servicer.set(WORKERS_HEALTH, SERVING)
    await parts["user"].servicer.set(STORAGE_HEALTH, SERVING)
    assert (await states(status))["workers"] == "down"
    seconds[0] = 5.0
    assert await states(status) == {"accounts": "up", "generation": "up", "workers": "up", "storage": "up"}


async def test_nobody_knows_of_workers_while_the_service_that_does_is_away(
    status: PlatformStatus, parts: dict[str, Part]
) -> None:
    await parts["generation"].server.stop(None)
    assert await states(status) == {"accounts": "up", "generation": "down", "workers": "unknown", "storage": "up"}


async def test_anybody_may_ask_through_the_edge(edge: Edge) -> None:
    answer = await edge.http.get("/status.json")
    assert answer.status_code == 200
    assert {each["part"] for each in answer.json()["parts"]} >= {"accounts", "generation", "workers"}
