"""The studio as tools of the Model Context Protocol, used by the protocol's own client through Envoy."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.message import Message
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp_types import CallToolResult, ImageContent, ResourceLink
from PIL import Image
from pingvas.generation.v1 import generation_service_pb2, job_pb2

from svc_common.errors import Reason, ServiceError
from tests.fakes.drawing_platform import CREATE, WATCH, ObjectStore, Slow
from tests.fakes.public_platform import PublicPlatform
from tests.harness_bridge import running_bridge
from tests.harness_envoy import Edge, json_refusal
from tests.harness_postgres import until

QUOTE = "GenerationService.QuoteJob"


@pytest.fixture
def priced(studio: PublicPlatform) -> PublicPlatform:
    """A platform on which each job costs 2 credits, and 3 at most."""

    async def quote(_: Message) -> Message:
        return generation_service_pb2.JobQuote(credits="2.000", credits_held="3.000", estimated_wait_seconds=0.25)

    studio.answers[QUOTE] = quote
    return studio


@pytest.fixture
def connected(edge: Edge, token: str) -> Callable[..., Any]:
    """Connects clients; each in the task of its test, as its scopes want it."""

    @asynccontextmanager
    async def connect(port: int = edge.port) -> AsyncIterator[Client]:
        url = f"http://127.0.0.1:{port}/mcp"
        async with (
            create_mcp_http_client(headers={"authorization": f"Bearer {token}"}) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            yield client

    return connect


def told(result: CallToolResult) -> str:
    return " ".join(each.text for each in result.content if each.type == "text")


async def test_tools_say_what_they_do_and_which_of_them_spends(
    connected: Callable[..., Any], priced: PublicPlatform
) -> None:
    async with connected() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {"list_models", "quote", "generate", "gallery"}
    assert all(tool.description for tool in tools.values())
    spending = {name for name, tool in tools.items() if tool.annotations and not tool.annotations.read_only_hint}
    assert spending == {"generate"}
    assert tools["generate"].input_schema["required"] == ["prompt"]
    assert "max_credits" in tools["generate"].input_schema["properties"]


async def test_picture_is_drawn_shown_and_linked_with_progress_on_the_way(
    connected: Callable[..., Any], priced: PublicPlatform, store: ObjectStore
) -> None:
    seen: list[tuple[float, float | None]] = []

    async def progressed(progress: float, total: float | None, _: str | None) -> None:
        seen.append((progress, total))

    arguments = {"prompt": "a red circle", "width_px": 256, "seed": 7, "image_count": 2}
    async with connected() as client:
        result = await client.call_tool("generate", arguments, progress_callback=progressed)
    assert not result.is_error
    assert seen == [(25, 100), (50, 100), (75, 100)]
    shown = [each for each in result.content if isinstance(each, ImageContent)]
    assert len(shown) == 2
    with Image.open(io.BytesIO(base64.b64decode(shown[0].data))) as image:
        assert (image.format, image.size) == ("WEBP", (16, 8))
    assert {each.uri for each in result.content if isinstance(each, ResourceLink)} == {store.url}
    assert result.structured_content["credits_used"] == "1.000"
    assert [each["seed"] for each in result.structured_content["images"]] == ["7", "8"]
    (created,) = priced.calls_of(CREATE)
    assert isinstance(created.request, generation_service_pb2.CreateJobRequest)
    asked = job_pb2.TextToImage(prompt="a red circle", width_px=256, seed=7, image_count=2)
    assert created.request.text_to_image == asked


async def test_call_that_could_cost_more_than_its_limit_spends_nothing(
    connected: Callable[..., Any], priced: PublicPlatform
) -> None:
    async with connected() as client:
        refused = await client.call_tool("generate", {"prompt": "x", "max_credits": 2.999})
        assert refused.is_error
        assert "up to 3.000 credits" in told(refused)
        assert priced.calls_of(CREATE) == []
        assert not (await client.call_tool("generate", {"prompt": "x", "max_credits": 3})).is_error
    assert len(priced.calls_of(CREATE)) == 1


async def test_price_and_models_are_told_without_spending(
    connected: Callable[..., Any], priced: PublicPlatform
) -> None:
    async with connected() as client:
        quote = await client.call_tool("quote", {"prompt": "x"})
        models = await client.call_tool("list_models", {})
        gallery = await client.call_tool("gallery", {"page_size": 3})
    assert quote.structured_content == {"credits": "2.000", "credits_at_most": "3.000", "estimated_wait_seconds": 0.2}
    assert [each["model_id"] for each in models.structured_content["models"]] == ["pingvas-tiny"]
    assert len(gallery.structured_content["images"]) == 1
    assert priced.calls_of(CREATE) == []


async def test_refusal_is_told_in_its_own_words(connected: Callable[..., Any], priced: PublicPlatform) -> None:
    async def refuse(_: Message) -> Message:
        raise ServiceError(Reason.INSUFFICIENT_CREDITS, "The balance doesn't cover the price.")

    priced.answers[CREATE] = refuse
    async with connected() as client:
        refused = await client.call_tool("generate", {"prompt": "x"})
        assert refused.is_error
        assert "The balance doesn't cover the price." in told(refused)
        wrong = await client.call_tool("generate", {"prompt": "x", "image_count": 5})
        assert wrong.is_error
    assert priced.calls_of(WATCH) == []


async def test_caller_without_a_token_is_told_which_kind_is_wanted(edge: Edge, platform: PublicPlatform) -> None:
    answer = await edge.http.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["details"][0]["reason"] == Reason.CREDENTIALS_MISSING


async def test_client_that_goes_away_cancels_what_it_began(
    connected: Callable[..., Any], priced: PublicPlatform, slow: Slow
) -> None:
    addresses = {area: f"127.0.0.1:{port}" for area, port in priced.ports.items()}
    async with running_bridge(addresses, compat_grace=timedelta(seconds=0.01)) as port:
        async with connected(port) as client:
            call = asyncio.create_task(client.call_tool("generate", {"prompt": "x"}))
            await until(lambda: _so(slow.watching > 0))
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        await asyncio.wait_for(slow.cancelled.wait(), 20)


async def _so(condition: bool) -> bool:
    return condition


async def test_message_that_is_too_large_is_refused_before_it_is_kept(
    edge: Edge, token: str, priced: PublicPlatform
) -> None:
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json", "accept": "application/json"}

    async def without_end() -> AsyncIterator[bytes]:
        for _ in range(6):
            yield b" " * (1 << 20)

    for content in (b" " * (5 << 20), without_end()):
        status, refusal = json_refusal(await edge.http.post("/mcp", content=content, headers=headers))
        assert (status, refusal.reason) == (413, Reason.REQUEST_TOO_LARGE)
        assert refusal.metadata == {"limit_bytes": str(4 << 20)}
