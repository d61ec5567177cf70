"""The events of jobs over Socket.IO, as python-socketio's client gets them through Envoy."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import socketio
from socketio.exceptions import ConnectionError as SocketRefused
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from edge_http.http_protocol import TOO_SLOW, PatientSocketProtocol
from svc_common.clock import new_id
from tests.factories.messages import JOB_ID
from tests.fakes.public_platform import PublicPlatform
from tests.fakes.told_events import WATCH_JOB, Flood, ToldEvents
from tests.harness_bridge import running_bridge
from tests.harness_envoy import Edge
from tests.harness_postgres import until

WHOLE_JOB = ["queued", "started", "progress", "progress", "progress", "completed"]
WAIT_SECONDS = 60


@pytest.fixture
def told(platform: PublicPlatform) -> ToldEvents:
    return ToldEvents(platform)


@pytest.fixture
def addresses(platform: PublicPlatform) -> dict[str, str]:
    return {area: f"127.0.0.1:{port}" for area, port in platform.ports.items()}


class Client:
    """A client that remembers every event by the time of its arrival."""

    def __init__(self) -> None:
        self.socket = socketio.AsyncClient(reconnection=False)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.socket.on("*", self._heard)

    async def _heard(self, event: str, data: dict[str, Any]) -> None:
        self.events.append((event, data))

    async def call(self, event: str, data: Any = None) -> dict[str, Any]:
        """Sends an event and returns what it is acknowledged by."""
        answer: dict[str, Any] = await self.socket.call(event, data, timeout=WAIT_SECONDS)
        return answer

    async def heard(self, count: int) -> list[str]:
        """Waits for so many events and returns their names without the prefix."""
        await until(lambda: _true(len(self.events) >= count), within_seconds=WAIT_SECONDS)
        return [name.removeprefix("job_") for name, _ in self.events]

    @property
    def ids(self) -> list[str]:
        """The ids of the events, in the order of their arrival."""
        return [data["event_id"] for _, data in self.events]


async def _true(holds: bool) -> bool:
    return holds


@asynccontextmanager
async def client_of(port: int, auth: Any, **options: Any) -> AsyncIterator[Client]:
    client = Client()
    url = f"http://127.0.0.1:{port}"
    await client.socket.connect(url, auth=auth, socketio_path="/ws/socket.io", wait_timeout=WAIT_SECONDS, **options)
    try:
        yield client
    finally:
        await client.socket.disconnect()


@pytest.mark.parametrize("transports", [["polling"], ["websocket"], None])
async def test_every_event_of_the_queue_comes_once_and_in_order(
    transports: list[str] | None, edge: Edge, told: ToldEvents, token: str
) -> None:
    async with client_of(edge.port, {"token": token}, transports=transports) as client:
        assert await client.call("subscribe_queue", {"queue_id": "default"}) == {}
        await told.tell_a_whole_job()
        assert await client.heard(len(WHOLE_JOB)) == WHOLE_JOB
    assert client.ids == told.ids
    await until(lambda: _true(told.watching == 0), within_seconds=WAIT_SECONDS)


async def test_one_job_is_told_from_behind_the_last_event_to_its_end(
    edge: Edge, platform: PublicPlatform, told: ToldEvents, token: str
) -> None:
    await told.tell_a_whole_job()
    async with client_of(edge.port, {"token": token}) as client:
        assert await client.call("subscribe_job", {"job_id": JOB_ID, "after": "3"}) == {}
        assert await client.heard(3) == WHOLE_JOB[3:]
    assert client.ids == ["4", "5", "6"]
    assert len(platform.calls_of(WATCH_JOB)) == 1


async def test_client_goes_on_at_another_bridge_when_its_own_stops(
    addresses: dict[str, str], told: ToldEvents, token: str
) -> None:
    async with running_bridge(addresses) as other:
        async with running_bridge(addresses) as port:
            client = Client()
            url = f"http://127.0.0.1:{port}"
            await client.socket.connect(
                url, auth={"token": token}, socketio_path="/ws/socket.io", transports=["websocket"]
            )
            await client.call("subscribe_queue")
            await told.tell("queued")
            await told.tell("started")
            await client.heard(2)
        await until(lambda: _true(not client.socket.connected), within_seconds=WAIT_SECONDS)
        await told.tell("progress")
        async with client_of(other, {"token": token}) as second:
            await second.call("subscribe_queue", {"after": client.ids[-1]})
            await told.tell("completed")
            assert await second.heard(2) == ["progress", "completed"]
    assert client.ids + second.ids == told.ids


async def test_two_bridges_tell_the_same_account_the_same(
    addresses: dict[str, str], told: ToldEvents, token: str
) -> None:
    async with (
        running_bridge(addresses) as one,
        running_bridge(addresses) as two,
        client_of(one, {"token": token}) as first,
        client_of(two, {"token": token}) as second,
    ):
        await first.call("subscribe_queue")
        await second.call("subscribe_queue")
        await told.tell_a_whole_job()
        assert await first.heard(6) == await second.heard(6) == WHOLE_JOB
    assert first.ids == second.ids == told.ids


async def test_subscribing_again_takes_the_place_of_the_first(edge: Edge, told: ToldEvents, token: str) -> None:
    await told.tell("queued")
    async with client_of(edge.port, {"token": token}) as client:
        await client.call("subscribe_queue", {"after": "1"})
        await client.call("subscribe_queue", {"after": "1"})
        await told.tell("started")
        assert await client.heard(1) == ["started"]
        await until(lambda: _true(told.watching == 1), within_seconds=WAIT_SECONDS)
        assert await client.call("unsubscribe") == {}
        await until(lambda: _true(told.watching == 0), within_seconds=WAIT_SECONDS)
    assert client.ids == ["2"]
    assert told.opened == 2


@pytest.mark.parametrize(
    ("auth", "reason"),
    [
        ({"token": "nonsense"}, "TOKEN_INVALID"),
        ({"token": ""}, "CREDENTIALS_MISSING"),
        ({"token": "\u0000é"}, "CREDENTIALS_MISSING"),
        (None, "CREDENTIALS_MISSING"),
        ({"token": 1}, "REQUEST_MALFORMED"),
        ("token", "REQUEST_MALFORMED"),
    ],
)
async def test_client_without_a_good_credential_is_refused_with_the_reason(
    auth: Any, reason: str, edge: Edge, told: ToldEvents
) -> None:
    client = Client()
    refusals: list[Any] = []
    client.socket.on("connect_error", refusals.append)
    with pytest.raises(SocketRefused):
        await client.socket.connect(
            f"http://127.0.0.1:{edge.port}", auth=auth, socketio_path="/ws/socket.io", wait_timeout=WAIT_SECONDS
        )
    assert refusals[0]["data"]["details"][0]["reason"] == reason
    assert told.opened == 0


@pytest.mark.parametrize(
    ("event", "data", "reason"),
    [
        ("subscribe_job", {"job_id": str(new_id())}, "JOB_NOT_FOUND"),
        ("subscribe_job", {}, "INVALID_FIELD"),
        ("subscribe_job", {"job_id": 7}, "REQUEST_MALFORMED"),
        ("subscribe_job", "nonsense", "REQUEST_MALFORMED"),
        ("subscribe_queue", {"queue_id": str(new_id())}, "REQUEST_MALFORMED"),
        ("subscribe_queue", {"qeue_id": "default"}, "REQUEST_MALFORMED"),
    ],
)
async def test_refused_subscription_is_acknowledged_and_told_with_the_reason(
    event: str, data: Any, reason: str, edge: Edge, told: ToldEvents, token: str
) -> None:
    async with client_of(edge.port, {"token": token}) as client:
        answer = await client.call(event, data)
        assert answer["error"]["details"][0]["reason"] == reason
        await client.heard(1)
    assert client.events == [("subscription_error", answer)]


async def test_queue_and_single_jobs_are_not_told_together(edge: Edge, told: ToldEvents, token: str) -> None:
    async with client_of(edge.port, {"token": token}) as client:
        await client.call("subscribe_queue")
        refused = await client.call("subscribe_job", {"job_id": JOB_ID})
    assert "not to both" in refused["error"]["message"]


class _Impatient(PatientSocketProtocol):
    patience_seconds = 0.5
    close_timeout = 60.0


async def test_client_that_reads_nothing_is_closed_and_nothing_is_buffered_for_it(
    addresses: dict[str, str], platform: PublicPlatform, token: str
) -> None:
    flood = Flood(platform)
    async with running_bridge(addresses, sockets=_Impatient) as port:
        address = f"ws://127.0.0.1:{port}/ws/socket.io/?EIO=4&transport=websocket"
        # Speaks the protocol by hand, because the library always reads.
        async with connect(address, max_queue=1, max_size=None) as socket:
            await socket.recv()
            await socket.send("40" + json.dumps({"token": token}))
            await socket.recv()
            await socket.send('42["subscribe_queue"]')
            await until(lambda: _closed_or_too_much(flood), within_seconds=WAIT_SECONDS)
            assert flood.sent < 500
            with suppress(ConnectionClosed):
                while True:
                    await socket.recv()
    assert socket.close_code == TOO_SLOW


async def _closed_or_too_much(flood: Flood) -> bool:
    return flood.sent >= 500 or (flood.sent > 0 and flood.watching == 0)
