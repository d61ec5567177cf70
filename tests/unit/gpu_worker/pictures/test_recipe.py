"""Recipes: what each operation writes down, that nothing that was written once is read otherwise, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pingvas.vocabulary import Operation

from gpu_worker.models.files import ModelFile, ModelSpec
from gpu_worker.pictures.encode import encode_original
from gpu_worker.pictures.inputs import NO_INPUTS, Inputs
from gpu_worker.pictures.png import png_bytes
from gpu_worker.pictures.recipe import (
    RECIPE_KEYWORD,
    Recipe,
    RecipeError,
    image_recipe,
    recipe_json,
    recipe_of_png,
    spec_of_recipe,
)
from gpu_worker.render.interface import LoraUse, RenderedImage, RenderResult, RenderSpec

MODEL = ModelSpec("m", "7", "tiny", (ModelFile("unet/w.safetensors", 3, "ab" * 32),))
LORA = ModelSpec("ink", "2", "tiny", (ModelFile("ink.safetensors", 5, "cd" * 32),))
SOURCE = np.full((12, 16, 3), 9, np.uint8)
MASK = np.full((12, 16), 255, np.uint8)
INPUTS = {
    Operation.TEXT_TO_IMAGE: NO_INPUTS,
    Operation.IMAGE_TO_IMAGE: Inputs(SOURCE, None, "12" * 32),
    Operation.INPAINT: Inputs(SOURCE, MASK, "12" * 32, "34" * 32),
    Operation.UPSCALE: Inputs(SOURCE, None, "12" * 32),
}
# As the first version wrote it into pictures that people have.
FIRST_RECIPE = {
    "format": "pingvas-recipe/1",
    "operation": "text_to_image",
    "model": {"model_id": "m", "revision": "7", "family": "tiny", "files": {"unet/w.safetensors": "ab" * 32}},
    "prompt": "a fox",
    "negative_prompt": "",
    "width_px": 64,
    "height_px": 40,
    "step_count": 4,
    "guidance_scale": 7.5,
    "seed": "9007199254740991",
    "image_index": 1,
    "scheduler": "euler",
    "device": "cpu",
    "libraries": {"torch": "2.13.0"},
}


def find_model(model_id: str, revision: str) -> ModelSpec:
    return {("m", "7"): MODEL, ("ink", "2"): LORA}[model_id, revision]


def spec(operation: Operation = Operation.TEXT_TO_IMAGE, **changes: object) -> RenderSpec:
    plain = RenderSpec(
        model=MODEL,
        prompt="a fox",
        negative_prompt="",
        width_px=64,
        height_px=40,
        step_count=4,
        guidance_scale=7.5,
        seed=2**53 - 1,
        image_count=1,
        scheduler="euler",
        operation=operation,
        source=INPUTS[operation].source,
        mask=INPUTS[operation].mask,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def recipe_of(rendered: RenderSpec, index: int = 0) -> Recipe:
    image = RenderedImage(index, rendered.seed + index, np.zeros((40, 64, 3), np.uint8))
    return image_recipe(rendered, image, RenderResult((image,), 0.5, "cpu", ()), INPUTS[rendered.operation])


def test_first_recipe_still_means_what_it_meant() -> None:
    # Only the low 32 bits of a seed counted then: that of 32 bits makes the same picture to this day.
    assert spec_of_recipe(FIRST_RECIPE, find_model) == spec(seed=9007199254740991 % 2**32)


def test_fields_of_the_first_recipe_are_all_still_written() -> None:
    written = recipe_of(spec())
    assert FIRST_RECIPE.keys() <= written.keys()
    assert written["operation"] == "text_to_image"


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        (Operation.TEXT_TO_IMAGE, set()),
        (Operation.IMAGE_TO_IMAGE, {"source_sha256", "strength"}),
        (Operation.INPAINT, {"source_sha256", "mask_sha256", "strength", "mask_feather_px"}),
        (Operation.UPSCALE, {"source_sha256", "scale_factor"}),
    ],
)
def test_each_operation_writes_its_own_fields(operation: Operation, fields: set[str]) -> None:
    assert recipe_of(spec(operation)).keys() - FIRST_RECIPE.keys() == fields | {"loras", "seed_bits"}


@settings(max_examples=50, deadline=None)
@given(
    operation=st.sampled_from(Operation),
    prompt=st.text(max_size=40),
    seed=st.integers(0, 2**53 - 8),
    index=st.integers(0, 7),
    weight=st.floats(-4, 4),
    guidance=st.floats(0, 30),
)
def test_recipe_through_a_picture_gives_the_same_spec_back(
    operation: Operation, prompt: str, seed: int, index: int, weight: float, guidance: float
) -> None:
    extras: dict[str, object] = {}
    if operation in (Operation.IMAGE_TO_IMAGE, Operation.INPAINT):
        extras["strength"] = 0.375
    if operation is Operation.INPAINT:
        extras["mask_feather_px"] = 13
    if operation is Operation.UPSCALE:
        extras["scale_factor"] = 4
    rendered = spec(
        operation, prompt=prompt, seed=seed, guidance_scale=guidance, loras=(LoraUse(LORA, weight),), **extras
    )
    picture = encode_original(np.zeros((40, 64, 3), np.uint8), recipe_of(rendered, index)).data
    again = spec_of_recipe(recipe_of_png(picture), find_model, INPUTS[operation])
    assert again == replace(rendered, seed=seed + index)


def test_recipe_is_the_same_bytes_for_the_same_recipe() -> None:
    assert recipe_json(recipe_of(spec())) == recipe_json(dict(reversed(recipe_of(spec()).items())))


@pytest.mark.parametrize(
    "text",
    [{}, {RECIPE_KEYWORD: "{"}, {RECIPE_KEYWORD: "[]"}, {RECIPE_KEYWORD: '{"format": "pingvas-recipe/9"}'}],
    ids=["none", "broken", "no object", "another format"],
)
def test_picture_without_a_readable_recipe_is_refused(text: dict[str, str]) -> None:
    with pytest.raises(RecipeError):
        recipe_of_png(png_bytes(np.zeros((4, 4, 3), np.uint8), text))


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(RecipeError):
        recipe_of_png(b"GIF89a")


def test_recipe_of_another_model_file_is_refused() -> None:
    changed = json.loads(recipe_json(recipe_of(spec())))
    changed["model"]["files"]["unet/w.safetensors"] = "ff" * 32
    with pytest.raises(RecipeError, match="files of m"):
        spec_of_recipe(changed, find_model)


def test_recipe_with_another_source_is_refused() -> None:
    recipe = recipe_of(spec(Operation.IMAGE_TO_IMAGE))
    with pytest.raises(RecipeError, match="another source"):
        spec_of_recipe(recipe, find_model, Inputs(SOURCE, None, "56" * 32))
    with pytest.raises(RecipeError, match="another source"):
        spec_of_recipe(recipe, find_model)


def test_recipe_that_lacks_a_field_is_refused() -> None:
    recipe = {name: value for name, value in FIRST_RECIPE.items() if name != "step_count"}
    with pytest.raises(RecipeError):
        spec_of_recipe(recipe, find_model)
