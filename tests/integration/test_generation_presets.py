"""Jobs that name a template, a style or a size: what is drawn, priced, recorded, counted and refused."""

from collections.abc import Awaitable
from typing import Any

import pytest
from pingvas.gallery.v1 import image_pb2, template_pb2, template_service_pb2
from pingvas.gallery.v1.template_pb2 import TemplateContent, TemplateValue
from pingvas.gallery.v1.template_service_pb2_grpc import TemplateServiceStub
from pingvas.generation.v1 import generation_service_pb2
from pingvas.generation.v1.generation_service_pb2_grpc import GenerationServiceStub
from pingvas.generation.v1.job_pb2 import (
    AppliedPreset,
    ImageSource,
    ImageToImage,
    Inpaint,
    Preset,
    TextToImage,
    Upscale,
)

from svc_common.errors import Reason
from tests.factories.actors import Person, WorkerClient
from tests.factories.pictures import half_white_bytes, picture_bytes
from tests.factories.platform import Platform
from tests.harness_service import refusal_of

TEAPOT = [TemplateValue(name="product", value="a teapot")]
PHOTO = (
    "product photograph of a teapot on a seamless white background, soft studio light, centered, sharp focus, high detail, "
    "commercial catalogue"
)


@pytest.fixture
async def person(platform: Platform) -> Person:
    return await Person.arrive(platform)


def templates(person: Person, method: str, **fields: Any) -> Awaitable[Any]:
    request = getattr(template_service_pb2, f"{method}Request")(**fields)
    return getattr(TemplateServiceStub(person.platform.gallery_channel), method)(request, metadata=person.metadata)


async def test_template_and_style_make_the_prompt_that_is_recorded_and_drawn(
    person: Person, worker: WorkerClient
) -> None:
    preset = Preset(template_id="product-photo", values=TEAPOT, style_id="style-oil")

    job = await person.submit(TextToImage(preset=preset, negative_prompt="fog", width_px=64, height_px=64))

    made = job.text_to_image
    assert made.prompt == f"oil painting of {PHOTO}, visible brush strokes, rich colors, canvas texture"
    assert made.negative_prompt.startswith("fog, text, watermark")
    assert made.negative_prompt.endswith("photograph, render, flat colors")
    assert (made.HasField("preset"), made.width_px, made.height_px) == (False, 64, 64)
    assert made.applied_preset == AppliedPreset(template_id="product-photo", style_id="style-oil")
    attempt = await worker.start(job.job_id)
    assert attempt.text_to_image == made
    await worker.complete(attempt, await worker.upload(attempt))
    await person.ended(job.job_id)
    (image,) = await person.pictures(job.job_id)
    assert image.prompt == made.prompt
    for template_id in ("product-photo", "style-oil"):
        assert (await templates(person, "GetTemplate", template_id=template_id)).use_count == 1
    # What was recorded makes the same job again: nothing is filled in or added twice.
    again = (await person.submit(made)).text_to_image
    assert (again.prompt, again.negative_prompt) == (made.prompt, made.negative_prompt)


async def test_own_template_is_used_by_its_id_and_by_nobody_else(platform: Platform, person: Person) -> None:
    content = TemplateContent(
        kind=template_pb2.TEMPLATE_KIND_PROMPT, name="Dawn", prompt="{{prompt}} at dawn", size_preset="facebook-cover"
    )
    template_id = (await templates(person, "CreateTemplate", content=content)).template_id
    wish = TextToImage(prompt="a heron", preset=Preset(template_id=template_id))

    made = (await person.submit(wish)).text_to_image

    # Suggested by the template, and made smaller: a side of the free tier is 768 pixels at most.
    assert (made.prompt, made.width_px, made.height_px) == ("a heron at dawn", 768, 288)
    stranger = await Person.arrive(platform)
    refusal = await refusal_of(stranger.submit(wish))
    assert (refusal.reason, refusal.metadata) == (Reason.TEMPLATE_NOT_FOUND, {"template_id": template_id})


async def test_size_preset_is_the_size_that_is_priced_and_limited_by_the_tier(platform: Platform) -> None:
    person = await Person.arrive(platform, tier="studio")
    wide = await person.quote_of(TextToImage(prompt="a heron", preset=Preset(size_preset="blog")))
    same = await person.quote_of(TextToImage(prompt="a heron", width_px=1200, height_px=632))
    assert wide.credits == same.credits
    poor = await Person.arrive(platform)
    refusal = await refusal_of(poor.submit(TextToImage(prompt="a heron", preset=Preset(size_preset="story"))))
    assert (refusal.reason, refusal.metadata["limit"]) == (Reason.TIER_LIMIT_EXCEEDED, "768")


async def test_prompt_that_was_filled_before_is_counted_and_left_as_it_is(person: Person) -> None:
    preset = Preset(template_id="product-photo", already_filled=True)
    made = (await person.submit(TextToImage(prompt="my own words", preset=preset))).text_to_image
    assert (made.prompt, made.negative_prompt) == ("my own words", "")
    assert made.applied_preset == AppliedPreset(template_id="product-photo")


async def test_what_a_request_says_was_applied_is_ignored(person: Person) -> None:
    claimed = AppliedPreset(template_id="product-photo")
    made = (await person.submit(TextToImage(prompt="a heron", applied_preset=claimed))).text_to_image
    assert not made.HasField("applied_preset")


async def test_templates_work_with_pictures_to_begin_with(person: Person) -> None:
    source, mask = await person.upload(picture_bytes(64, 64)), await person.upload(half_white_bytes(64, 64))
    preset = Preset(template_id="product-photo", values=TEAPOT)
    drawn = (await person.submit(ImageToImage(source=source, preset=preset))).image_to_image
    painted = (await person.submit(Inpaint(source=source, mask=mask, preset=preset))).inpaint
    assert [drawn.prompt, painted.prompt] == [PHOTO, PHOTO]


async def test_replay_answers_as_before_though_the_template_is_gone(person: Person) -> None:
    content = TemplateContent(kind=template_pb2.TEMPLATE_KIND_PROMPT, name="x", prompt="a heron")
    template_id = (await templates(person, "CreateTemplate", content=content)).template_id
    wish = TextToImage(preset=Preset(template_id=template_id))
    first = await person.submit(wish, request_id="one")
    await templates(person, "DeleteTemplate", template_id=template_id)
    assert (await person.submit(wish, request_id="one")).job_id == first.job_id


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        (TextToImage(), "text_to_image.prompt"),
        (TextToImage(prompt=" ", preset=Preset(style_id="style-oil")), "text_to_image.prompt"),
        (TextToImage(preset=Preset(template_id="product-photo")), "text_to_image.preset.values.product"),
        (
            TextToImage(
                preset=Preset(template_id="product-photo", values=[*TEAPOT, TemplateValue(name="light", value="x")])
            ),
            "text_to_image.preset.values.light",
        ),
        (TextToImage(prompt="x", preset=Preset(size_preset="huge")), "text_to_image.preset.size_preset"),
        (
            TextToImage(prompt="x", width_px=64, preset=Preset(size_preset="square")),
            "text_to_image.preset.size_preset",
        ),
        (TextToImage(prompt="x" * 1990, preset=Preset(style_id="style-oil")), "text_to_image.prompt"),
        (
            TextToImage(prompt="x", negative_prompt="x" * 1990, preset=Preset(style_id="style-oil")),
            "text_to_image.negative_prompt",
        ),
    ],
)
async def test_what_cannot_be_is_refused_by_field_before_anything_is_held(
    person: Person, wish: TextToImage, field: str
) -> None:
    balance = await person.balance()
    for refusal in (await refusal_of(person.submit(wish)), await refusal_of(person.quote_of(wish))):
        assert (refusal.reason, [fault.field for fault in refusal.violations]) == (Reason.INVALID_FIELD, [field])
    assert await person.balance() == balance


async def test_values_are_held_against_the_notation_of_prompts(person: Person) -> None:
    preset = Preset(template_id="product-photo", values=[TemplateValue(name="product", value="[cat:dog:0.5]")])
    refusal = await refusal_of(person.submit(TextToImage(preset=preset)))
    assert (refusal.reason, refusal.metadata["notation"]) == (Reason.PROMPT_NOTATION_UNSUPPORTED, "[cat:dog:0.5]")


async def test_sizes_with_names_are_listed_by_pages(person: Person) -> None:
    stub = GenerationServiceStub(person.replica.service.public)
    found, token = [], ""
    while True:
        request = generation_service_pb2.ListSizePresetsRequest(page_size=4, page_token=token)
        page = await stub.ListSizePresets(request, metadata=person.metadata)
        found += page.size_presets
        token = page.next_page_token
        if not token:
            break
    sizes = {each.name: (each.width_px, each.height_px, each.place_width_px, each.place_height_px) for each in found}
    assert len(sizes) == len(found) == 10
    assert (sizes["blog"], sizes["story"]) == ((1200, 632, 1200, 630), (1080, 1920, 1080, 1920))


async def test_picture_tells_what_it_was_made_from(person: Person, worker: WorkerClient) -> None:
    async def drawn(wish: TextToImage | Upscale) -> image_pb2.Image:
        job = await person.submit(wish)
        attempt = await worker.start(job.job_id)
        await worker.complete(attempt, await worker.upload(attempt))
        await person.ended(job.job_id)
        (image,) = await person.pictures(job.job_id)
        return image

    first = await drawn(TextToImage(prompt="a heron", width_px=64, height_px=64))
    second = await drawn(Upscale(source=ImageSource(image_id=first.image_id)))
    assert (first.operation, first.parent_image_id) == (image_pb2.IMAGE_OPERATION_TEXT_TO_IMAGE, "")
    assert (second.operation, second.parent_image_id) == (image_pb2.IMAGE_OPERATION_UPSCALE, first.image_id)
