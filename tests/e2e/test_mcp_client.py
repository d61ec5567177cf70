"""An agent's client before the whole platform: what it draws is paid for, and in its owner's gallery."""

from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp_types import ImageContent
from pingvas.gallery.v1 import gallery_service_pb2

from tests.e2e.invariants import assert_invariants
from tests.e2e.stage import Stage


async def test_agent_draws_within_its_limit_and_finds_the_picture(calm: Stage) -> None:
    person = calm.person("pro")
    small = {"prompt": "a red circle", "width_px": 64, "height_px": 64, "step_count": 4, "seed": 7}
    async with (
        create_mcp_http_client(headers=dict(person.metadata)) as http,
        Client(streamable_http_client(f"{calm.fleet.http}/mcp", http_client=http)) as client,
    ):
        quote = await client.call_tool("quote", {key: value for key, value in small.items() if key != "seed"})
        most = float(quote.structured_content["credits_at_most"])
        refused = await client.call_tool("generate", {**small, "max_credits": most / 2})
        drawn = await client.call_tool("generate", {**small, "max_credits": most})
        gallery = await client.call_tool("gallery", {})
    assert refused.is_error
    assert any(isinstance(each, ImageContent) for each in drawn.content)
    made = drawn.structured_content["images"]
    assert [each["image_id"] for each in gallery.structured_content["images"]] == [each["image_id"] for each in made]
    kept = person.gallery.ListImages(gallery_service_pb2.ListImagesRequest(), metadata=person.metadata).images
    assert [(each.image_id, each.seed) for each in kept] == [(made[0]["image_id"], 7)]
    assert_invariants(calm)
