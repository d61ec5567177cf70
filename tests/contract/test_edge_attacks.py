"""Attacks on a running edge, each by a process of its own, and a caller beside them who goes on being served."""

import asyncio
import itertools
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from edge_envoy.settings import EdgeSettings
from svc_common.clock import new_id
from tests.fakes.attackers import ATTACKS
from tests.fakes.public_platform import PublicPlatform
from tests.harness_envoy import Edge, running_edge
from tests.harness_postgres import until
from tests.harness_service import Identities

REPOSITORY = Path(__file__).resolve().parents[2]
ROUNDS, CALLS = 3, 20
FLOOR_SECONDS = 1.0
"""What a call may take in any case: the attacker, the edge, the platform and this test share two cores."""
PATIENCE_SECONDS = 60.0
# What of an attack comes through to the platform, which runs in the test's own process; a probe's calls are fewer.
ATTACKERS_RATE = 200
TRICKLE_SECONDS = 1.5
"""How long this edge waits for what trickles in; ten seconds and more in production."""

_addresses = itertools.count(1)

# By which figure of the edge each attack meets its end.
ENDS = {
    "slow_headers": "downstream_rq_header_timeout",
    "slow_bodies": "downstream_rq_timeout",
    "header_flood": "downstream_rq_4xx",
    "large_bodies": "downstream_rq_4xx",
    "rapid_reset": "downstream_rq_too_many_premature_resets",
}


@pytest_asyncio.fixture(scope="module")
async def attacked(edge_settings: EdgeSettings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    folder = tmp_path_factory.mktemp("attacked")
    settings = replace(
        edge_settings,
        request_headers_timeout_seconds=TRICKLE_SECONDS,
        request_timeout_seconds=TRICKLE_SECONDS,
        # Attackers have one address, and a caller beside them has one of its own.
        trusted_hops=1,
        address_requests_per_second=ATTACKERS_RATE,
        address_burst=ATTACKERS_RATE,
        # An attacker would fill it.
        access_log=False,
    )
    async with running_edge(settings, folder) as running:
        yield running


@asynccontextmanager
async def under(attack: str, edge: Edge) -> AsyncIterator[None]:
    """Attacks while the block runs, and until the edge has put an end to some of it."""
    before = await _statistic(edge, ENDS[attack])
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'gen'}"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fakes.attackers", attack, str(edge.port), env=environment
    )
    try:
        connections = await _statistic(edge, "downstream_cx_total")
        await until(partial(_has_grown, edge, "downstream_cx_total", connections), within_seconds=PATIENCE_SECONDS)
        yield
        await until(partial(_has_grown, edge, ENDS[attack], before), within_seconds=PATIENCE_SECONDS)
    finally:
        process.kill()
        await process.wait()


async def slowest(edge: Edge, headers: dict[str, str]) -> float:
    """Makes calls one after the other, which must all be answered, and returns how long the slowest took, in seconds."""
    seconds = []
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{edge.port}", timeout=PATIENCE_SECONDS) as http:
        for _ in range(CALLS):
            began = time.monotonic()
            answer = await http.get("/api/v1/models", headers=headers)
            seconds.append(time.monotonic() - began)
            assert answer.status_code == 200
    return max(seconds)


@pytest.mark.parametrize("attack", ATTACKS)
async def test_others_go_on_being_served(
    attack: str, attacked: Edge, platform: PublicPlatform, identities: Identities
) -> None:
    headers = dict(identities.as_user(new_id())) | {"x-forwarded-for": f"203.0.113.{next(_addresses)}"}
    quiet, disturbed = [], []
    for _ in range(ROUNDS):
        quiet.append(await slowest(attacked, headers))
        async with under(attack, attacked):
            disturbed.append(await slowest(attacked, headers))

    assert statistics.median(disturbed) <= max(3 * statistics.median(quiet), FLOOR_SECONDS)


async def _has_grown(edge: Edge, name: str, before: int) -> bool:
    return await _statistic(edge, name) > before


async def _statistic(edge: Edge, name: str) -> int:
    answer = await edge.admin.get(rf"/stats?format=json&filter=^http\.edge\.{name}$")
    (found,) = [each["value"] for each in answer.json()["stats"]]
    return int(found)
