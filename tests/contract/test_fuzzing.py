"""Malformed requests, 500 for each face, from a seeded fuzzer through Envoy: none is answered 5xx, none hangs, none is kept.

The seed stands in the name of each test, so that a failure is found again.
"""

import asyncio
import base64
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from tests.fakes.public_platform import PublicPlatform
from tests.fakes.told_events import ToldEvents
from tests.harness_envoy import Edge, web_frame

COUNT = 500
AT_ONCE = 20
HANGS_SECONDS = 30
SEED = 20261129
GROWTH_BYTES = 150 << 20

JSON_PATHS = (
    *("/api/v1/generate/text-to-image", "/api/v1/generation/create", "/api/v1/generate/quote", "/api/v1/boards"),
    *("/api/v1/webhooks/endpoints", "/api/v1/images:batchDelete", "/api/v1/auth/login", "/api/v1/users/me/api-keys"),
)
FIELDS = (
    "prompt",
    "seed",
    "width_px",
    "step_count",
    "url",
    "events",
    "request_id",
    "name",
    "email",
    "page_size",
    "token",
)
CHARACTERS = "aZ09 \t\"'\\{}[]:,%&?#/.-_\x00\x1f\x7fé漢🚤\u202e\ud800"


class Fuzzer:
    """Makes things that are nearly right, and things that are not."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def text(self, most: int = 60) -> str:
        return "".join(self.random.choice(CHARACTERS) for _ in range(self.random.randrange(most)))

    def junk(self, most: int = 300) -> bytes:
        return self.random.randbytes(self.random.randrange(most))

    def value(self, depth: int = 0) -> Any:
        kind = self.random.randrange(9 if depth < 4 else 6)
        if kind == 6:
            return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
        if kind > 6:
            return {
                self.random.choice((*FIELDS, self.text(9))): self.value(depth + 1)
                for _ in range(self.random.randrange(5))
            }
        plain = (
            None,
            True,
            self.random.randrange(-(2**70), 2**70),
            self.random.random() * 1e300,
            self.text(),
            "9" * 5000,
        )
        return plain[kind]

    def document(self) -> bytes:
        """Returns JSON, as often as not with some bytes of it changed."""
        data = bytearray(json.dumps(self.value()).encode("utf-8", "surrogatepass"))
        if data and self.random.random() < 0.5:
            for _ in range(self.random.randrange(1, 4)):
                data[self.random.randrange(len(data))] = self.random.randrange(256)
        return bytes(data) if self.random.random() < 0.9 else self.junk()

    def printable(self) -> str:
        return "".join(chr(self.random.randrange(33, 127)) for _ in range(self.random.randrange(1, 80)))

    def query(self) -> str:
        return "&".join(f"{self.random.choice(FIELDS)}={self.percent()}" for _ in range(self.random.randrange(4)))

    def percent(self) -> str:
        return "".join(f"%{byte:02x}" if self.random.random() < 0.5 else "a" for byte in self.junk(20))

    def headers(self, token: str) -> dict[str, str]:
        return {
            "authorization": f"Bearer {token}" if self.random.random() < 0.7 else self.printable(),
            "content-type": self.random.choice(("application/json", "text/plain", self.printable())),
            **({"idempotency-key": self.printable()} if self.random.random() < 0.3 else {}),
            **({"grpc-timeout": self.printable()} if self.random.random() < 0.2 else {}),
            **({"last-event-id": self.printable()} if self.random.random() < 0.2 else {}),
        }


Request = tuple[str, str, dict[str, str], bytes]


def json_request(fuzzer: Fuzzer, token: str) -> Request:
    verb = fuzzer.random.choice(("POST", "POST", "POST", "PUT", "PATCH", "DELETE"))
    path = f"{fuzzer.random.choice(JSON_PATHS)}?{fuzzer.query()}"
    return verb, path, fuzzer.headers(token), fuzzer.document()


def web_request(fuzzer: Fuzzer, token: str) -> Request:
    method = fuzzer.random.choice(("GenerationService/CreateJob", "GenerationService/WatchJob", fuzzer.percent()))
    kind = fuzzer.random.choice(("application/grpc-web+proto", "application/grpc-web-text", "application/grpc-web"))
    body = web_frame(fuzzer.junk()) if fuzzer.random.random() < 0.5 else fuzzer.junk()
    body = base64.b64encode(body) if kind.endswith("text") and fuzzer.random.random() < 0.7 else body
    return "POST", f"/pingvas.generation.v1.{method}", {**fuzzer.headers(token), "content-type": kind}, body


def events_request(fuzzer: Fuzzer, token: str) -> Request:
    path = fuzzer.random.choice((f"/api/v1/jobs/{fuzzer.percent()}/events", "/api/v1/jobs/events"))
    query = f"after={fuzzer.percent()}x&{fuzzer.query()}"
    return "GET", f"{path}?{query}", {**fuzzer.headers(token), "accept": "text/event-stream"}, b""


def openai_request(fuzzer: Fuzzer, token: str) -> Request:
    path = fuzzer.random.choice(
        ("/v1/images/generations", "/v1/images/edits", f"/v1/models/{fuzzer.percent()}", "/v1/x")
    )
    return fuzzer.random.choice(("POST", "GET")), path, fuzzer.headers(token), fuzzer.document()


def a1111_request(fuzzer: Fuzzer, token: str) -> Request:
    names = (
        "txt2img",
        "img2img",
        "options",
        "progress",
        "png-info",
        "extra-single-image",
        "interrupt",
        fuzzer.percent(),
    )
    verb = fuzzer.random.choice(("POST", "POST", "GET"))
    return verb, f"/sdapi/v1/{fuzzer.random.choice(names)}", fuzzer.headers(token), fuzzer.document()


def mcp_request(fuzzer: Fuzzer, token: str) -> Request:
    call = {"jsonrpc": "2.0", "id": fuzzer.value(5), "method": "tools/call", "params": fuzzer.value()}
    body = json.dumps(call).encode() if fuzzer.random.random() < 0.5 else fuzzer.document()
    headers = {**fuzzer.headers(token), "accept": "application/json, text/event-stream"}
    return fuzzer.random.choice(("POST", "POST", "DELETE")), "/mcp", headers, body


def polling_request(fuzzer: Fuzzer, token: str) -> Request:
    query = fuzzer.random.choice(("EIO=4&transport=polling", "EIO=4&transport=websocket", fuzzer.query()))
    path = f"/ws/socket.io/?{query}&sid={fuzzer.percent()}x"
    return fuzzer.random.choice(("GET", "POST")), path, fuzzer.headers(token), fuzzer.document()


@pytest.fixture(autouse=True)
def told(platform: PublicPlatform) -> ToldEvents:
    return ToldEvents(platform)


async def all_of(count: int, attempt: Callable[[int], Awaitable[None]]) -> None:
    """Makes so many attempts, a few at a time, each within its time; compares what this process holds before and after."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with turns, asyncio.timeout(HANGS_SECONDS):
            await attempt(number)

    before = psutil.Process().memory_info().rss
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(one(number))
    assert psutil.Process().memory_info().rss - before < GROWTH_BYTES


@pytest.mark.parametrize(
    "make",
    [json_request, web_request, events_request, openai_request, a1111_request, mcp_request, polling_request],
)
async def test_malformed_request_is_refused_and_nobody_is_held_up(
    make: Callable[[Fuzzer, str], Request], edge: Edge, token: str
) -> None:
    fuzzer = Fuzzer(SEED)
    requests = [make(fuzzer, token) for _ in range(COUNT)]

    async def attempt(number: int) -> None:
        verb, path, headers, content = requests[number]
        try:
            # Its head: a stream that was asked for well goes on.
            async with edge.http.stream(verb, path, headers=headers, content=content) as answer:
                status = answer.status_code
        except httpx.RemoteProtocolError:
            return  # the edge closes what isn't HTTP
        assert status < 500, f"{status} for request {number} of seed {SEED}: {requests[number]}"

    await all_of(COUNT, attempt)
    assert (await edge.http.get("/api/v1/models", headers={"authorization": f"Bearer {token}"})).status_code == 200


@pytest.mark.parametrize(
    ("path", "closes_at_once"), [("/ws/queue/default", True), ("/ws/socket.io/?EIO=4&transport=websocket", False)]
)
async def test_malformed_messages_close_a_socket_with_a_reason_of_the_client_s(
    path: str, closes_at_once: bool, edge: Edge, token: str
) -> None:
    fuzzer = Fuzzer(SEED)

    def message() -> str | bytes:
        kind = fuzzer.random.randrange(4)
        text = fuzzer.document().decode("utf-8", "replace")
        prefix = fuzzer.random.choice(("40", "42", "4", "2", "5", "451-", "43", "40/x,"))
        return (fuzzer.junk(), text, prefix + text, json.dumps({"token": fuzzer.printable(), "after": "1"}))[kind]

    scripts = [[message() for _ in range(fuzzer.random.randrange(1, 5))] for _ in range(COUNT)]
    places = [f"{path}{fuzzer.query()}" if "?" in path else f"{path}?{fuzzer.query()}" for _ in range(COUNT)]
    offered = [[Subprotocol("pingvas.v1")] if fuzzer.random.random() < 0.5 else None for _ in range(COUNT)]

    async def attempt(number: int) -> None:
        url = f"ws://127.0.0.1:{edge.port}{places[number]}"
        try:
            async with connect(url, subprotocols=offered[number], max_size=None) as socket:
                with suppress(ConnectionClosed):
                    for each in scripts[number]:
                        await socket.send(each)
                if closes_at_once:
                    await socket.wait_closed()
            code = socket.close_code
        except InvalidHandshake:
            return
        assert code not in (1011, 4500), f"an internal error for script {number} of seed {SEED}: {scripts[number]}"

    await all_of(COUNT, attempt)
    assert (await edge.http.get("/api/v1/models", headers={"authorization": f"Bearer {token}"})).status_code == 200
