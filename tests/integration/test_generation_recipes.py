"""RecipeService on its real neighbours: what it answers is a job that CreateJob takes, or it says what is missing."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import MessageToJson
from pingvas.generation.v1 import job_pb2, recipe_pb2, recipe_service_pb2
from pingvas.generation.v1.recipe_service_pb2_grpc import RecipeServiceStub
from pingvas.vocabulary import Operation

from gpu_worker.models.files import ModelFile, ModelSpec
from gpu_worker.pictures.inputs import Inputs
from gpu_worker.pictures.png import png_bytes
from gpu_worker.pictures.recipe import RECIPE_KEYWORD, image_recipe, recipe_json
from gpu_worker.render.interface import LoraUse, RenderedImage, RenderResult, RenderSpec
from svc_common.errors import Reason
from svc_common.picture_notes import without_pixels
from svc_generation.domain.recipes import own
from tests.factories.actors import Person
from tests.factories.noted import A1111_PARAMETERS, COMFYUI_GRAPH, INVOKEAI_METADATA, noted_png
from tests.factories.pictures import picture_bytes
from tests.factories.platform import Platform
from tests.harness_service import refusal_of

PIXELS = np.full((64, 128, 3), 99, np.uint8)
SOURCE, MASK = np.full((64, 64, 3), 9, np.uint8), np.full((64, 64), 255, np.uint8)


def read(person: Person, picture: bytes) -> Any:
    stub = RecipeServiceStub(person.replica.service.public)
    return stub.ReadRecipe(recipe_service_pb2.ReadRecipeRequest(picture=picture), metadata=person.metadata)


async def spec_of(platform: Platform, model_id: str) -> ModelSpec:
    """Returns a model of the catalogue as a worker knows it."""
    known = await platform.generation.parts.lookups.model(model_id)
    files = (ModelFile(file.path, file.size_bytes, file.sha256) for file in known.files)
    return ModelSpec(model_id, known.model.revision, known.model.family, tuple(files))


def picture_of(model: ModelSpec, operation: Operation = Operation.TEXT_TO_IMAGE, **changes: Any) -> bytes:
    """Returns a picture with its recipe, written by the worker's own code."""
    spec = RenderSpec(
        model=model,
        prompt="a fox, „blue“ 🚤",
        negative_prompt="fog",
        width_px=128,
        height_px=64,
        step_count=4,
        guidance_scale=0.0,
        seed=2**53 - 1,
        image_count=1,
        scheduler="ddim",
        operation=operation,
        **changes,
    )
    inputs = {
        Operation.TEXT_TO_IMAGE: Inputs(),
        Operation.IMAGE_TO_IMAGE: Inputs(SOURCE, None, "12" * 32),
        Operation.INPAINT: Inputs(SOURCE, MASK, "12" * 32, "34" * 32),
        Operation.UPSCALE: Inputs(SOURCE, None, "12" * 32),
    }[operation]
    image = RenderedImage(0, spec.seed, PIXELS)
    recipe = image_recipe(spec, image, RenderResult((image,), 0.5, "cpu", ()), inputs)
    return png_bytes(PIXELS, {RECIPE_KEYWORD: recipe_json(recipe).decode()})


def remarks(recipe: recipe_pb2.Recipe, kind: "recipe_pb2.RemarkKind.ValueType") -> dict[str, str]:
    return {remark.part: remark.value for remark in recipe.remarks if remark.kind == kind}


def test_keyword_is_that_of_the_worker() -> None:
    assert own.KEYWORD == RECIPE_KEYWORD


async def test_own_picture_gives_a_job_that_asks_for_the_same_again(platform: Platform) -> None:
    person = await Person.arrive(platform)
    ink = LoraUse(await spec_of(platform, "ink"), 0.5)
    picture = picture_of(await spec_of(platform, "pingvas-tiny"), loras=(ink,))

    recipe = await read(person, picture)

    assert (recipe.origin, recipe.model_match) == (recipe_pb2.RECIPE_ORIGIN_PINGVAS, recipe_pb2.MODEL_MATCH_SAME_FILES)
    assert not recipe.remarks
    assert recipe.text_to_image == job_pb2.TextToImage(
        prompt="a fox, „blue“ 🚤",
        negative_prompt="fog",
        model_id="pingvas-tiny",
        width_px=128,
        height_px=64,
        step_count=4,
        guidance_scale=0.0,
        seed=2**53 - 1,
        image_count=1,
        scheduler="ddim",
        loras=[job_pb2.LoraWeight(model_id="ink", weight=0.5)],
    )
    assert '"seed": "9007199254740991"' in MessageToJson(recipe)
    assert await read(person, without_pixels(picture)) == recipe
    job = await person.submit(recipe.text_to_image)
    assert job.text_to_image == recipe.text_to_image


@pytest.mark.parametrize("operation", [Operation.IMAGE_TO_IMAGE, Operation.INPAINT, Operation.UPSCALE])
async def test_own_picture_made_from_another_one_says_which_is_needed(platform: Platform, operation: Operation) -> None:
    person = await Person.arrive(platform)
    given = {} if operation is Operation.UPSCALE else {"strength": 0.25}
    recipe = await read(person, picture_of(await spec_of(platform, "pingvas-tiny"), operation, **given))

    is_masked = operation is Operation.INPAINT
    needs = {"source": "12" * 32} | ({"mask": "34" * 32} if is_masked else {})
    assert remarks(recipe, recipe_pb2.REMARK_KIND_NEEDED) == needs
    assert (recipe.source_sha256, recipe.mask_sha256) == ("12" * 32, "34" * 32 if is_masked else "")
    job = getattr(recipe, recipe.WhichOneof("operation"))
    assert recipe.WhichOneof("operation") == operation.value
    assert not job.HasField("source")
    assert job.seed == 2**53 - 1
    # With what is needed it is taken as it is.
    job.source.CopyFrom(await person.upload(picture_bytes(64, 64)))
    if is_masked:
        half = np.zeros((64, 64, 3), np.uint8)
        half[:, :32] = 255
        job.mask.CopyFrom(await person.upload(png_bytes(half, {})))
    await person.submit(job)


async def test_model_or_lora_with_other_files_now_is_said(platform: Platform) -> None:
    person = await Person.arrive(platform)
    other = (ModelFile("unet.safetensors", 1, "ee" * 32),)
    ink = ModelSpec("ink", "1", "tiny", other)
    recipe = await read(person, picture_of(ModelSpec("pingvas-tiny", "0", "tiny", other), loras=(LoraUse(ink, 1.0),)))
    assert recipe.model_match == recipe_pb2.MODEL_MATCH_OTHER_FILES
    assert remarks(recipe, recipe_pb2.REMARK_KIND_CHANGED) == {"model": "pingvas-tiny", "LoRA": "ink"}
    assert recipe.text_to_image.model_id == "pingvas-tiny"


async def test_model_lora_and_scheduler_that_are_not_here_are_left_out(platform: Platform) -> None:
    person = await Person.arrive(platform)
    gone = ModelSpec("gone", "1", "sdxl", (ModelFile("a", 1, "ee" * 32),))
    # A LoRA is no model, and a model no LoRA.
    tiny = await spec_of(platform, "pingvas-tiny")
    recipe = await read(person, picture_of(gone, loras=(LoraUse(tiny, 0.5), LoraUse(gone, 1.0))))
    assert recipe.model_match == recipe_pb2.MODEL_MATCH_NONE
    left_out = [(remark.part, remark.value) for remark in recipe.remarks]
    assert left_out == [("model", "gone"), ("LoRA", "pingvas-tiny:0.5"), ("LoRA", "gone:1")]
    assert (recipe.text_to_image.model_id, list(recipe.text_to_image.loras)) == ("", [])
    job = await person.submit(recipe.text_to_image)
    assert job.text_to_image.model_id == "pingvas-tiny"

    note = INVOKEAI_METADATA | {"scheduler": "lcm", "model": {"name": "xl"}}
    recipe = await read(person, noted_png(invokeai_metadata=json.dumps(note)))
    known = set((await platform.generation.parts.lookups.model("xl")).model.schedulers)
    assert "lcm" not in known
    assert remarks(recipe, recipe_pb2.REMARK_KIND_LEFT_OUT)["scheduler"] == "lcm"
    assert recipe.text_to_image.scheduler == ""


@pytest.mark.parametrize(
    ("picture", "origin"),
    [
        (noted_png(parameters=A1111_PARAMETERS), recipe_pb2.RECIPE_ORIGIN_A1111),
        (noted_png(invokeai_metadata=json.dumps(INVOKEAI_METADATA)), recipe_pb2.RECIPE_ORIGIN_INVOKEAI),
        (noted_png(prompt=json.dumps(COMFYUI_GRAPH), workflow="{}"), recipe_pb2.RECIPE_ORIGIN_COMFYUI),
    ],
)
async def test_picture_of_another_tool_gives_a_job_that_is_taken(
    platform: Platform, picture: bytes, origin: int
) -> None:
    person = await Person.arrive(platform, tier="studio")

    recipe = await read(person, picture)

    assert (recipe.origin, recipe.model_match) == (origin, recipe_pb2.MODEL_MATCH_NAME)
    assert not remarks(recipe, recipe_pb2.REMARK_KIND_NEEDED)
    wanted = recipe.text_to_image
    assert (wanted.model_id, wanted.width_px, wanted.height_px) == ("pingvas-tiny", 512, 768)
    assert [lora.model_id for lora in wanted.loras] == ["ink"]
    assert wanted.prompt.startswith("a heron")
    assert "lora" not in wanted.prompt
    # The model has other schedulers than these pictures name.
    assert remarks(recipe, recipe_pb2.REMARK_KIND_LEFT_OUT)["scheduler"] in {"dpmpp_2m", "euler_a"}
    job = await person.submit(wanted)
    wanted.scheduler = "euler"
    assert job.text_to_image == wanted


async def test_prompt_in_a_notation_that_is_refused_is_kept_and_said(platform: Platform) -> None:
    person = await Person.arrive(platform)
    recipe = await read(person, noted_png(parameters="[cat:dog:0.5] at dawn\nSteps: 4, Seed: 5, Size: 64x64"))
    (need,) = (remark for remark in recipe.remarks if remark.kind == recipe_pb2.REMARK_KIND_NEEDED)
    assert need.part == "prompt"
    assert "[cat:dog:0.5]" in need.message
    assert recipe.text_to_image.prompt == "[cat:dog:0.5] at dawn"
    assert (await refusal_of(person.submit(recipe.text_to_image))).reason is Reason.PROMPT_NOTATION_UNSUPPORTED


async def test_recipe_without_words_asks_for_them(platform: Platform) -> None:
    person = await Person.arrive(platform)
    recipe = await read(person, noted_png(parameters="<lora:nobody:1>\nSteps: 4, Seed: 5"))
    assert remarks(recipe, recipe_pb2.REMARK_KIND_NEEDED).keys() == {"prompt"}


async def test_picture_without_a_recipe_is_refused_by_name(platform: Platform) -> None:
    person = await Person.arrive(platform)
    refusal = await refusal_of(read(person, picture_bytes()))
    assert (refusal.reason, refusal.metadata) == (Reason.RECIPE_INVALID, {"cause": "none"})
    assert (await refusal_of(read(person, b""))).reason is Reason.INVALID_FIELD
    assert (await refusal_of(read(person, b"\x89PNG" + b"\0" * 3_000_000))).reason is Reason.INVALID_FIELD


async def test_largest_picture_with_the_largest_note_is_read(platform: Platform) -> None:
    person = await Person.arrive(platform)
    ballast = {str(1000 + place): {"class_type": "Note", "inputs": {"text": "x" * 300}} for place in range(4900)}
    picture = noted_png(prompt=json.dumps(COMFYUI_GRAPH | ballast))
    beginning = picture[: picture.index(b"IDAT") - 4]
    pixels = 3_000_000 - len(beginning) - 12
    assert 1_500_000 < len(beginning) < 3_000_000
    recipe = await read(person, beginning + struct.pack(">I4s", pixels, b"IDAT") + b"\0" * (pixels + 4))
    assert recipe.text_to_image.seed == 2**53 - 1
