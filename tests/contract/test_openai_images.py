"""The bridge as OpenAI's Images API, called by OpenAI's client through Envoy; the services' answers were made beforehand."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from PIL import Image
from pingvas.generation.v1 import job_event_pb2, job_pb2

from svc_common.errors import FieldViolation, Reason, ServiceError
from tests.fakes.drawing_platform import CREATE, WATCH, ObjectStore, Slow, event, picture
from tests.fakes.public_platform import PublicPlatform
from tests.harness_bridge import running_bridge
from tests.harness_envoy import Edge
from tests.harness_postgres import until


def mask(mode: str = "RGBA") -> bytes:
    """Returns a mask whose left half is transparent, or one without transparency."""
    image = Image.new("RGBA", (16, 8), (9, 9, 9, 255))
    image.paste((0, 0, 0, 0), (0, 0, 8, 8))
    out = io.BytesIO()
    image.convert(mode).save(out, "PNG")
    return out.getvalue()


@pytest_asyncio.fixture
async def client(edge: Edge, token: str) -> AsyncIterator[openai.AsyncOpenAI]:
    base_url = f"http://127.0.0.1:{edge.port}/v1"
    async with openai.AsyncOpenAI(api_key=token, base_url=base_url, max_retries=0) as made:
        yield made


def asked_of(platform: PublicPlatform) -> Any:
    (call,) = platform.calls_of(CREATE)
    return getattr(call.request, call.request.WhichOneof("operation"))  # type: ignore[attr-defined]


async def test_prompt_becomes_pictures_in_base64(client: openai.AsyncOpenAI, studio: PublicPlatform) -> None:
    answer = await client.images.generate(
        model="pingvas-tiny",
        prompt="a red circle",
        n=2,
        size="256x128",
        extra_body={"seed": 7, "steps": 9, "negative_prompt": "fog", "guidance_scale": 2.5},
    )
    assert answer.data is not None
    assert [base64.b64decode(each.b64_json or "") for each in answer.data] == [picture(), picture()]
    assert (answer.size, answer.output_format, answer.usage) == ("16x8", "png", None)
    assert asked_of(studio) == job_pb2.TextToImage(
        prompt="a red circle",
        negative_prompt="fog",
        model_id="pingvas-tiny",
        width_px=256,
        height_px=128,
        step_count=9,
        guidance_scale=2.5,
        seed=7,
        image_count=2,
    )


@pytest.mark.parametrize("model", ["gpt-image-1", "gpt-image-2.5-preview", "dall-e-3"])
async def test_name_of_a_model_of_theirs_is_the_default_model(
    model: str, client: openai.AsyncOpenAI, studio: PublicPlatform
) -> None:
    await client.images.generate(model=model, prompt="x", size="auto", response_format="b64_json", quality="high")
    assert asked_of(studio) == job_pb2.TextToImage(prompt="x", image_count=1)


async def test_what_means_nothing_here_is_taken_without_effect(edge: Edge, token: str, studio: PublicPlatform) -> None:
    effectless = {
        "style": "vivid",
        "user": "ada",
        "moderation": "low",
        "background": "auto",
        "quality": "hd",
        "input_fidelity": "high",
        "output_compression": None,
        "stream": None,
        "something": {"of": "theirs"},
    }
    headers = {"authorization": f"bearer {token}"}
    answer = await edge.http.post("/v1/images/generations", json={"prompt": "x", **effectless}, headers=headers)
    assert answer.status_code == 200
    assert asked_of(studio) == job_pb2.TextToImage(prompt="x", image_count=1)


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"prompt": 5}, "prompt"),
        ({"prompt": "x", "n": 0}, "n"),
        ({"prompt": "x", "n": "many"}, "n"),
        ({"prompt": "x", "n": 1.5}, "n"),
        ({"prompt": "x", "seed": 2**64}, "seed"),
        ({"prompt": "x", "size": "0x64"}, "size"),
        ({"prompt": "x", "stream": "perhaps"}, "stream"),
        ({"prompt": "x", "partial_images": 4}, "partial_images"),
        ({"prompt": "x", "output_format": "gif"}, "output_format"),
        ({"prompt": "x", "response_format": "hex"}, "response_format"),
        ({"prompt": "x", "guidance_scale": "strong"}, "guidance_scale"),
        ({}, "prompt"),
        ({"prompt": "x", "size": "100x64"}, "size"),
    ],
)
async def test_value_that_cannot_be_is_refused_by_its_parameter(
    body: dict[str, Any], parameter: str, edge: Edge, token: str, studio: PublicPlatform
) -> None:
    headers = {"authorization": f"Bearer {token}"}
    answer = await edge.http.post("/v1/images/generations", json=body, headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, parameter, "invalid_value")
    assert studio.calls_of(CREATE) == []


async def test_address_is_absolute_when_one_is_asked_for(
    client: openai.AsyncOpenAI, studio: PublicPlatform, store: ObjectStore
) -> None:
    answer = await client.images.generate(prompt="x", response_format="url")
    assert answer.data is not None
    assert (answer.data[0].url, answer.data[0].b64_json) == (store.url, None)


@pytest.mark.parametrize(("file_format", "signature"), [("jpeg", b"\xff\xd8\xff"), ("webp", b"RIFF")])
async def test_picture_comes_in_the_format_that_is_asked_for(
    file_format: Any, signature: bytes, client: openai.AsyncOpenAI, studio: PublicPlatform
) -> None:
    answer = await client.images.generate(prompt="x", output_format=file_format, output_compression=60)
    assert answer.data is not None
    assert base64.b64decode(answer.data[0].b64_json or "").startswith(signature)


@pytest.mark.parametrize(("wanted", "shown"), [(0, []), (1, [0]), (3, [0, 1, 2])])
async def test_stream_shows_as_many_previews_as_are_wanted_and_then_the_picture(
    wanted: int, shown: list[int], client: openai.AsyncOpenAI, studio: PublicPlatform
) -> None:
    stream = await client.images.generate(prompt="x", stream=True, partial_images=wanted)
    events: list[Any] = [each async for each in stream]
    assert [each.partial_image_index for each in events[:-1]] == shown
    assert {each.type for each in events[:-1]} <= {"image_generation.partial_image"}
    assert all(base64.b64decode(each.b64_json).startswith(b"\x89PNG") for each in events)
    assert (events[-1].type, events[-1].size, events[-1].usage.total_tokens) == (
        "image_generation.completed",
        "16x8",
        0,
    )


async def test_edit_without_a_mask_begins_with_the_picture(
    client: openai.AsyncOpenAI, studio: PublicPlatform, store: ObjectStore
) -> None:
    answer = await client.images.edit(image=picture(), prompt="at night", n=1)
    assert answer.data is not None
    assert store.put == [("image/png", picture())]
    asked = asked_of(studio)
    assert isinstance(asked, job_pb2.ImageToImage)
    assert asked.source.upload_id


async def test_edit_with_a_mask_repaints_where_it_is_transparent(
    client: openai.AsyncOpenAI, studio: PublicPlatform, store: ObjectStore
) -> None:
    stream = await client.images.edit(image=[picture()], mask=mask(), prompt="x", stream=True, partial_images=1)
    kinds = [each.type async for each in stream]
    assert kinds == ["image_edit.partial_image", "image_edit.completed"]
    asked = asked_of(studio)
    assert isinstance(asked, job_pb2.Inpaint)
    assert asked.source.upload_id != asked.mask.upload_id
    with Image.open(io.BytesIO(store.put[1][1])) as ours:
        assert [ours.getpixel((x, 4)) for x in (0, 7, 8, 15)] == [255, 255, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "parameter"),
    [
        ({"image": [picture(), picture()]}, "image"),
        ({"image": picture(), "mask": mask("RGB")}, "mask"),
        ({"image": picture(), "mask": b"no picture"}, "mask"),
        ({"image": picture(), "size": "large"}, "size"),
        ({"image": picture(), "background": "transparent"}, "background"),
    ],
)
async def test_edit_that_cannot_be_made_is_refused_by_its_parameter(
    arguments: dict[str, Any], parameter: str, client: openai.AsyncOpenAI, studio: PublicPlatform
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.images.edit(prompt="x", **arguments)
    assert (refused.value.param, refused.value.type) == (parameter, "invalid_request_error")
    assert studio.calls_of(CREATE) == []


async def test_models_are_listed_with_the_names_that_stand_for_the_default_one(
    client: openai.AsyncOpenAI, studio: PublicPlatform
) -> None:
    names = [each.id async for each in client.models.list()]
    assert names[0] == "pingvas-tiny"
    assert "ink-lines" not in names
    assert {"gpt-image-1", "dall-e-3"} <= set(names)
    assert (await client.models.retrieve("gpt-image-1")).id == "gpt-image-1"


async def test_model_that_is_nowhere_is_not_found(client: openai.AsyncOpenAI, platform: PublicPlatform) -> None:
    async def missing(_: Message) -> Message:
        raise ServiceError(Reason.MODEL_NOT_FOUND, "No such model.", metadata={"model_id": "x"})

    platform.answers["ModelService.GetModel"] = missing
    with pytest.raises(openai.NotFoundError) as refused:
        await client.models.retrieve("x")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


async def test_variations_are_clearly_not_there(client: openai.AsyncOpenAI, platform: PublicPlatform) -> None:
    with pytest.raises(openai.NotFoundError, match="/v1/images/edits"):
        await client.images.create_variation(image=picture())


@pytest.mark.parametrize(
    ("error", "kind", "status", "code", "parameter"),
    [
        (
            ServiceError(Reason.INSUFFICIENT_CREDITS, "Buy some."),
            openai.RateLimitError,
            429,
            "insufficient_quota",
            None,
        ),
        (ServiceError(Reason.MODEL_NOT_FOUND, "None."), openai.NotFoundError, 404, "model_not_found", "model"),
        (
            ServiceError(
                Reason.TIER_LIMIT_EXCEEDED, "Less.", violations=[FieldViolation("text_to_image.width_px", "less")]
            ),
            openai.BadRequestError,
            400,
            "tier_limit_exceeded",
            "size",
        ),
        (
            ServiceError(Reason.QUEUE_FULL, "Wait.", retry_after=timedelta(seconds=2)),
            openai.RateLimitError,
            429,
            "rate_limit_exceeded",
            None,
        ),
        (
            ServiceError(Reason.DEPENDENCY_UNAVAILABLE, "Away.", metadata={"dependency": "redis"}),
            openai.InternalServerError,
            503,
            "dependency_unavailable",
            None,
        ),
    ],
    ids=lambda value: value.reason if isinstance(value, ServiceError) else "",
)
async def test_refusal_is_one_of_theirs(
    error: ServiceError,
    kind: type[openai.APIStatusError],
    status: int,
    code: str,
    parameter: str | None,
    client: openai.AsyncOpenAI,
    studio: PublicPlatform,
) -> None:
    async def refuse(_: Message) -> Message:
        raise error

    studio.answers[CREATE] = refuse
    for stream in (False, True):
        with pytest.raises(kind) as refused:
            await client.images.generate(prompt="x", stream=stream)
        assert (refused.value.status_code, refused.value.code, refused.value.param) == (status, code, parameter)


async def test_account_without_credits_is_not_asked_again(edge: Edge, token: str, studio: PublicPlatform) -> None:
    async def refuse(_: Message) -> Message:
        raise ServiceError(Reason.INSUFFICIENT_CREDITS, "Buy some.")

    studio.answers[CREATE] = refuse
    async with openai.AsyncOpenAI(api_key=token, base_url=f"http://127.0.0.1:{edge.port}/v1") as client:
        with pytest.raises(openai.RateLimitError):
            await client.images.generate(prompt="x")
    assert len(studio.calls_of(CREATE)) == 1


async def test_picture_that_policy_refuses_is_blocked_by_moderation(
    client: openai.AsyncOpenAI, studio: PublicPlatform
) -> None:
    async def watch(_: Message) -> AsyncIterator[Message]:
        failed = job_event_pb2.JobFailed(reason=48, message="The policy refuses it.")  # type: ignore[arg-type]
        yield event("2", failed=failed)

    studio.streams[WATCH] = watch
    with pytest.raises(openai.BadRequestError) as refused:
        await client.images.generate(prompt="x")
    assert refused.value.code == "moderation_blocked"
    with pytest.raises(openai.APIError, match="The policy refuses it"):
        _ = [each async for each in await client.images.generate(prompt="x", stream=True)]


@pytest.mark.parametrize("key", ["", "no-token"])
async def test_caller_without_a_good_token_is_refused_in_their_form(
    key: str, edge: Edge, studio: PublicPlatform
) -> None:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    for path in ("generations", "edits"):
        answer = await edge.http.post(f"/v1/images/{path}", headers=headers, json={"prompt": "x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert studio.calls_of(CREATE) == []


async def test_upload_that_is_too_large_is_refused_before_it_is_kept(
    edge: Edge, token: str, studio: PublicPlatform, store: ObjectStore
) -> None:
    large = b"\x89PNG" + bytes(66 << 20)
    answer = await edge.http.post(
        "/v1/images/edits",
        headers={"authorization": f"Bearer {token}"},
        data={"prompt": "x"},
        files={"image": ("large.png", large, "image/png")},
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert store.put == []


class Repeater:
    """Sends equal requests for a picture to a bridge of its own, and hangs up."""

    def __init__(self, http: httpx.AsyncClient, slow: Slow) -> None:
        self._http = http
        self._slow = slow

    async def send(self, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        return await self._http.post("/v1/images/generations", json={"prompt": "x", **fields}, headers=headers)

    async def begin(self, headers: dict[str, str] | None = None, **fields: Any) -> "asyncio.Task[httpx.Response]":
        """Sends a request and waits until its job was created and is watched."""
        created, watching = self._slow.created, self._slow.watching
        call = asyncio.create_task(self.send(headers, **fields))
        await until(lambda: _so(self._slow.created > created and self._slow.watching > watching))
        return call

    async def hang_up(self, headers: dict[str, str] | None = None, **fields: Any) -> None:
        """Sends a request and goes away, and waits until the bridge has noticed."""
        watching = self._slow.watching
        call = await self.begin(headers, **fields)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await until(lambda: _so(self._slow.watching == watching))


async def _so(condition: bool) -> bool:
    return condition


@pytest.fixture
def repeating(shared_platform: PublicPlatform, slow: Slow, token: str) -> Callable[[float], Any]:
    """Makes a repeater for a bridge that waits so many seconds before it cancels."""
    addresses = {area: f"127.0.0.1:{port}" for area, port in shared_platform.ports.items()}
    headers = {"authorization": f"Bearer {token}"}

    @asynccontextmanager
    async def made(grace_seconds: float) -> AsyncIterator[Repeater]:
        async with (
            running_bridge(addresses, compat_grace=timedelta(seconds=grace_seconds)) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20) as http,
        ):
            yield Repeater(http, slow)

    return made


@pytest.mark.parametrize("fields", [{}, {"stream": True}], ids=["whole", "streamed"])
async def test_caller_who_hangs_up_cancels_the_job(
    fields: dict[str, Any], repeating: Callable[[float], Any], slow: Slow
) -> None:
    async with repeating(0.01) as repeater:
        await repeater.hang_up(**fields)
        await asyncio.wait_for(slow.cancelled.wait(), 20)


async def test_request_that_is_repeated_in_time_finds_its_job(repeating: Callable[[float], Any], slow: Slow) -> None:
    async with repeating(600) as repeater:
        await repeater.hang_up()
        again = asyncio.create_task(repeater.send())
        other = await repeater.begin(size="64x64")
        slow.finish.set()
        assert [(await call).status_code for call in (again, other)] == [200, 200]
        assert (slow.created, slow.cancelled.is_set()) == (2, False)


async def test_picture_that_could_not_be_fetched_is_not_drawn_again(
    repeating: Callable[[float], Any], slow: Slow, store: ObjectStore
) -> None:
    slow.finish.set()
    store.failures = 1
    async with repeating(600) as repeater:
        failed, repeated, another = [await repeater.send() for _ in range(3)]
    assert (failed.status_code, failed.json()["error"]["code"]) == (503, "dependency_unavailable")
    assert [repeated.status_code, another.status_code, slow.created] == [200, 200, 2]


async def test_two_equal_requests_at_a_time_are_two_jobs(repeating: Callable[[float], Any], slow: Slow) -> None:
    async with repeating(600) as repeater:
        calls = [await repeater.begin(), await repeater.begin()]
        slow.finish.set()
        assert [(await call).status_code for call in calls] == [200, 200]
        assert slow.created == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"idempotency-key": "once"}, {"idempotency-key": "once"}),
        ({}, {"x-stainless-retry-count": "1"}),
    ],
    ids=["same key", "client that says so"],
)
async def test_request_that_says_that_it_is_the_same_is_one_job(
    first: dict[str, str], second: dict[str, str], repeating: Callable[[float], Any], slow: Slow
) -> None:
    async with repeating(600) as repeater:
        calls = [await repeater.begin(first), asyncio.create_task(repeater.send(second))]
        slow.finish.set()
        answers = [await call for call in calls]
        assert [answer.status_code for answer in answers] == [200, 200]
        late = await repeater.send(second)
        assert late.json()["data"] == answers[0].json()["data"]
        assert slow.created == 1


async def test_bridge_that_stops_cancels_what_was_abandoned(repeating: Callable[[float], Any], slow: Slow) -> None:
    async with repeating(600) as repeater:
        await repeater.hang_up()
        await repeater.hang_up({"idempotency-key": "once"}, size="64x64")
        assert not slow.cancelled.is_set()
    await asyncio.wait_for(slow.cancelled.wait(), 20)
    assert slow.cancellations == 1
