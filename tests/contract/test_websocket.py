"""The events of jobs over WebSocket, as the `websockets` client gets them through Envoy."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from google.protobuf.message import Message
from pingvas.user.v1 import api_key_service_pb2, user_pb2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from edge_http.http_protocol import PatientSocketProtocol
from svc_common.clock import new_id
from tests.factories.messages import JOB_ID
from tests.fakes.public_platform import PublicPlatform
from tests.fakes.told_events import WATCH_JOB, WATCH_JOBS, Flood, ToldEvents
from tests.harness_bridge import running_bridge
from tests.harness_envoy import Edge
from tests.harness_postgres import until
from tests.harness_service import Identities

QUEUE = "/ws/queue/default"
WHOLE_JOB = ["queued", "started", "progress", "progress", "progress", "completed"]


@pytest.fixture
def told(platform: PublicPlatform) -> ToldEvents:
    return ToldEvents(platform)


@pytest.fixture
def addresses(platform: PublicPlatform) -> dict[str, str]:
    return {area: f"127.0.0.1:{port}" for area, port in platform.ports.items()}


def by_header(token: str) -> dict[str, Any]:
    return {"additional_headers": {"authorization": f"Bearer {token}"}}


def by_protocol(token: str) -> dict[str, Any]:
    return {"subprotocols": [Subprotocol("pingvas.v1"), Subprotocol(f"bearer.{token}")]}


@asynccontextmanager
async def socket_to(port: int, path: str = QUEUE, **options: Any) -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://127.0.0.1:{port}{path}", max_size=None, **options) as socket:
        yield socket


async def events_of(socket: ClientConnection, count: int) -> list[dict[str, Any]]:
    """Reads so many events that aren't heartbeats."""
    events: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        while len(events) < count:
            event = json.loads(await socket.recv())
            if "heartbeat" not in event:
                events.append(event)
    return events


async def close_of(socket: ClientConnection) -> tuple[list[Any], int, str]:
    """Reads a socket to its end; returns the messages, and code and reason of the close."""
    messages = []
    async with asyncio.timeout(60):
        with suppress(ConnectionClosed):
            while True:
                messages.append(json.loads(await socket.recv()))
    assert socket.close_code is not None
    return messages, socket.close_code, socket.close_reason or ""


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [kind for event in events for kind in set(WHOLE_JOB) & set(event)]


@pytest.mark.parametrize("way", [by_header, by_protocol])
async def test_every_event_of_a_job_comes_once_and_in_order(
    way: Callable[[str], dict[str, Any]], edge: Edge, told: ToldEvents, token: str
) -> None:
    async with socket_to(edge.port, **way(token)) as socket:
        await told.tell_a_whole_job()
        events = await events_of(socket, len(WHOLE_JOB))
    assert kinds(events) == WHOLE_JOB
    assert [event["event_id"] for event in events] == told.ids
    assert events[-1]["completed"]["credits_used"] == "1.000"
    await nobody_watches(told)


async def nobody_watches(told: ToldEvents) -> None:
    await until(lambda: _true(told.watching == 0), within_seconds=60)


async def _true(holds: bool) -> bool:
    return holds


async def test_credential_and_place_may_come_in_the_first_message(edge: Edge, told: ToldEvents, token: str) -> None:
    await told.tell_a_whole_job()
    async with socket_to(edge.port) as socket:
        await socket.send(json.dumps({"token": token, "after": "4"}))
        assert [event["event_id"] for event in await events_of(socket, 2)] == ["5", "6"]


async def test_browser_s_subprotocol_is_answered_without_its_token(edge: Edge, told: ToldEvents, token: str) -> None:
    async with socket_to(edge.port, **by_protocol(token)) as socket:
        assert socket.subprotocol == "pingvas.v1"
        assert socket.response is not None
        assert token not in str(socket.response.headers)
    assert token not in edge.log.read_text()


async def test_api_key_opens_a_socket(
    edge: Edge, platform: PublicPlatform, told: ToldEvents, identities: Identities
) -> None:
    owner = new_id()
    ((_, header),) = identities.as_user(owner)

    async def exchange(_: Message) -> Message:
        return api_key_service_pb2.ExchangeApiKeyResponse(access_token=header.removeprefix("Bearer "))

    platform.answers["ApiKeyService.ExchangeApiKey"] = exchange
    await told.tell_a_whole_job()
    async with socket_to(edge.port, **by_protocol(f"pgv_test_{owner.hex}")) as socket:
        assert kinds(await events_of(socket, 6)) == WHOLE_JOB
    assert [call.account_id for call in platform.calls_of(WATCH_JOBS)] == [str(owner)]


async def test_one_job_ends_its_socket_with_its_last_event(
    edge: Edge, platform: PublicPlatform, told: ToldEvents, token: str
) -> None:
    await told.tell_a_whole_job()
    async with socket_to(edge.port, f"{QUEUE}?job_id={JOB_ID}&after=2", **by_header(token)) as socket:
        events, code, _ = await close_of(socket)
    assert kinds(events) == WHOLE_JOB[2:]
    assert code == 1000
    assert len(platform.calls_of(WATCH_JOB)) == 1


async def test_reconnected_client_goes_on_behind_its_last_event(edge: Edge, told: ToldEvents, token: str) -> None:
    await told.tell("queued")
    await told.tell("started")
    async with socket_to(edge.port, **by_header(token)) as socket:
        first = await events_of(socket, 2)
    await nobody_watches(told)
    await told.tell("progress")
    async with socket_to(edge.port, f"{QUEUE}?after={first[-1]['event_id']}", **by_header(token)) as socket:
        await told.tell("completed")
        second = await events_of(socket, 2)
    assert kinds(first + second) == ["queued", "started", "progress", "completed"]


async def test_stopping_bridge_sends_its_clients_to_another_which_goes_on(
    addresses: dict[str, str], told: ToldEvents, token: str
) -> None:
    async with running_bridge(addresses) as other:
        async with running_bridge(addresses) as port:
            connection = await connect(f"ws://127.0.0.1:{port}{QUEUE}", **by_header(token))
            await told.tell("queued")
            first = await events_of(connection, 1)
        rest, code, _ = await close_of(connection)
        assert code == 1012
        assert kinds(rest) == []
        await told.tell("completed")
        async with socket_to(other, f"{QUEUE}?after={first[0]['event_id']}", **by_header(token)) as socket:
            assert kinds(await events_of(socket, 1)) == ["completed"]


async def test_account_s_id_names_its_queue_and_no_other_does(
    edge: Edge, platform: PublicPlatform, told: ToldEvents, token: str
) -> None:
    mine = str(new_id())

    async def me(_: Message) -> Message:
        return user_pb2.User(account_id=mine)

    platform.answers["UserService.GetMe"] = me
    await told.tell("queued")
    async with socket_to(edge.port, f"/ws/queue/{mine}", **by_header(token)) as socket:
        assert kinds(await events_of(socket, 1)) == ["queued"]
    async with socket_to(edge.port, f"/ws/queue/{new_id()}", **by_header(token)) as socket:
        (refusal,), code, reason = await close_of(socket)
    assert (code, reason) == (4400, "REQUEST_MALFORMED")
    assert "default" in refusal["error"]["message"]


async def test_bad_token_is_told_and_closed(edge: Edge, told: ToldEvents) -> None:
    async with socket_to(edge.port, **by_protocol("nonsense")) as socket:
        (refusal,), code, reason = await close_of(socket)
    assert (code, reason) == (4401, "TOKEN_INVALID")
    assert refusal["error"]["details"][0]["reason"] == "TOKEN_INVALID"


async def test_unknown_job_is_told_and_closed(edge: Edge, told: ToldEvents, token: str) -> None:
    async with socket_to(edge.port, f"{QUEUE}?job_id={new_id()}", **by_header(token)) as socket:
        _, code, reason = await close_of(socket)
    assert (code, reason) == (4404, "JOB_NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "first"),
    [
        (QUEUE, "{"),
        (QUEUE, "[]"),
        (QUEUE, '{"token": 1}'),
        (QUEUE, '{"tokn": ""}'),
        (QUEUE, b"\x00\xff"),
        (f"{QUEUE}?token=x", None),
        (f"{QUEUE}?after=1&after=2", None),
    ],
)
async def test_what_isn_t_understood_is_told_and_closed(
    path: str, first: str | bytes | None, edge: Edge, told: ToldEvents
) -> None:
    async with socket_to(edge.port, path) as socket:
        if first is not None:
            await socket.send(first)
        (refusal,), code, reason = await close_of(socket)
    assert (code, reason) == (4400, "REQUEST_MALFORMED")
    assert refusal["error"]["message"]


async def test_client_that_talks_where_nothing_is_asked_is_closed(edge: Edge, told: ToldEvents, token: str) -> None:
    async with socket_to(edge.port, **by_header(token)) as socket:
        await until(lambda: _true(told.watching == 1))
        await socket.send("hello?")
        messages, code, _ = await close_of(socket)
    assert code == 4400
    assert "Nothing was asked" in messages[-1]["error"]["message"]
    await nobody_watches(told)


class _Impatient(PatientSocketProtocol):
    patience_seconds = 0.5
    close_timeout = 60.0


async def test_slow_reader_is_closed_with_a_reason_and_holds_up_nothing_meanwhile(
    addresses: dict[str, str], platform: PublicPlatform, token: str
) -> None:
    flood = Flood(platform)
    async with (
        running_bridge(addresses, sockets=_Impatient) as port,
        # Reads nothing from the connection once its queue of one message is full.
        socket_to(port, max_queue=1, **by_header(token)) as socket,
    ):
        await until(lambda: _true(flood.sent > 0 and flood.watching == 0), within_seconds=60)
        # What the kernel and gRPC hold between the two; a bridge that buffered would have taken thousands.
        assert flood.sent < 500
        messages, code, reason = await close_of(socket)
    assert code == 4408
    assert "after" in reason
    assert [message["event_id"] for message in messages] == [f"1-{number + 1}" for number in range(len(messages))]
