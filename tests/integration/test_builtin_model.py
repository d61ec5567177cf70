"""The model that ships: it draws what prompts say, in both languages, with every class of diffusers that it is made for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline, StableDiffusionPipeline
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from numpy.typing import NDArray
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from transformers import CLIPTokenizer

from gpu_worker.models.builtin import SHIPPED
from gpu_worker.models.files import MANIFEST_NAME
from gpu_worker.render.families.schedulers import make_scheduler
from training.drawing import RGB, draw
from training.scenes import Colour, Item, ObjectScene, Place, Shape, Size

GUIDANCE = json.loads((SHIPPED / MANIFEST_NAME).read_bytes())["default_guidance_scale"]
SCHEDULERS = json.loads((SHIPPED / MANIFEST_NAME).read_bytes())["schedulers"]
PAIRS = (
    "a green square to the left of a yellow circle on a black background",
    "검은 배경에 왼쪽에 초록색 사각형, 오른쪽에 노란 원",
)
RED_ON_BLUE = "a large red circle on a blue background"


@pytest.fixture(scope="module")
def pipeline() -> StableDiffusionPipeline:
    return loaded(StableDiffusionPipeline)


def loaded(pipeline_class: Any) -> Any:
    pipeline = pipeline_class.from_pretrained(SHIPPED, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def picture(pipeline: Any, prompt: str, step_count: int = 20, **options: Any) -> NDArray[np.uint8]:
    return np.asarray(
        pipeline(
            prompt,
            num_inference_steps=step_count,
            guidance_scale=GUIDANCE,
            generator=torch.Generator().manual_seed(1),
            **options,
        ).images[0]
    )


def colour_at(pixels: NDArray[np.uint8], x: float, y: float) -> Colour:
    """The named colour that is nearest to the mean of a small square; x and y are shares of the side."""
    column, row = (round(share * 256) for share in (x, y))
    mean = pixels[row - 6 : row + 6, column - 6 : column + 6].reshape(-1, 3).mean(axis=0)
    return min(RGB, key=lambda colour: float(np.linalg.norm(mean - RGB[colour])))


@pytest.mark.parametrize("prompt", [RED_ON_BLUE, "파란 배경에 큰 빨간 원"])
def test_an_object_and_its_background_have_the_colours_of_the_prompt(
    pipeline: StableDiffusionPipeline, prompt: str
) -> None:
    pixels = picture(pipeline, prompt)
    assert colour_at(pixels, 0.5, 0.5) is Colour.RED
    corners = [colour_at(pixels, x, y) for x in (0.06, 0.94) for y in (0.06, 0.94)]
    assert corners == [Colour.BLUE] * 4


@pytest.mark.parametrize("prompt", PAIRS)
def test_two_objects_stand_where_the_prompt_puts_them(pipeline: StableDiffusionPipeline, prompt: str) -> None:
    pixels = picture(pipeline, prompt)
    left, middle, right = (colour_at(pixels, x, 0.5) for x in (0.265, 0.5, 0.735))
    assert left is not Colour.BLACK
    assert right is not Colour.BLACK
    assert middle is Colour.BLACK
    assert colour_at(pixels, 0.5, 0.08) is Colour.BLACK


@pytest.mark.parametrize("prompt", PAIRS)
def test_each_of_two_objects_has_its_own_colour(pipeline: StableDiffusionPipeline, prompt: str) -> None:
    pixels = picture(pipeline, prompt)
    assert [colour_at(pixels, x, 0.5) for x in (0.265, 0.735)] == [Colour.GREEN, Colour.YELLOW]


def test_a_night_is_darker_than_a_day(pipeline: StableDiffusionPipeline) -> None:
    night, day = (picture(pipeline, prompt).mean() for prompt in ("mountains at night", "mountains during the day"))
    assert night < 80
    assert day > 120


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_of_the_manifest_draws_the_prompt(pipeline: StableDiffusionPipeline, name: str) -> None:
    saved = pipeline.scheduler
    pipeline.scheduler = make_scheduler(name, saved.config, 20)
    try:
        pixels = picture(pipeline, RED_ON_BLUE)
    finally:
        pipeline.scheduler = saved
    assert colour_at(pixels, 0.5, 0.5) is Colour.RED
    assert colour_at(pixels, 0.06, 0.06) is Colour.BLUE


def test_image_to_image_repaints_in_the_colours_of_the_prompt() -> None:
    source = ObjectScene(Colour.GREEN, (Item(Shape.CIRCLE, Colour.YELLOW, Size.LARGE, Place.CENTRE),), 1)
    pixels = picture(
        loaded(StableDiffusionImg2ImgPipeline), RED_ON_BLUE, image=Image.fromarray(draw(source)), strength=0.95
    )
    assert colour_at(pixels, 0.5, 0.5) is Colour.RED
    assert colour_at(pixels, 0.06, 0.06) is Colour.BLUE


def test_inpainting_keeps_what_the_mask_leaves_black() -> None:
    source = draw(ObjectScene(Colour.BLUE, (Item(Shape.CIRCLE, Colour.YELLOW, Size.LARGE, Place.CENTRE),), 1))
    mask = Image.new("L", (256, 256))
    mask.paste(255, (128, 0, 256, 256))
    pixels = picture(
        loaded(StableDiffusionInpaintPipeline),
        RED_ON_BLUE,
        image=Image.fromarray(source),
        mask_image=mask,
        strength=1.0,
    )
    kept = np.abs(pixels[:, :100].astype(int) - source[:, :100])
    assert kept.mean() < 8
    assert np.abs(pixels[:, 150:].astype(int) - source[:, 150:]).mean() > 12


def test_a_lora_changes_the_picture_and_leaves_no_trace(pipeline: StableDiffusionPipeline, tmp_path: Path) -> None:
    donor = loaded(StableDiffusionPipeline)
    torch.manual_seed(1)
    donor.unet.add_adapter(LoraConfig(r=4, init_lora_weights="gaussian", target_modules=["to_q", "to_k", "to_v"]))
    weights = {name: torch.randn_like(value) for name, value in get_peft_model_state_dict(donor.unet).items()}
    StableDiffusionLoraLoaderMixin.save_lora_weights(tmp_path, unet_lora_layers=weights)
    before = picture(pipeline, RED_ON_BLUE, step_count=4)
    pipeline.load_lora_weights(tmp_path)
    changed = picture(pipeline, RED_ON_BLUE, step_count=4)
    pipeline.unload_lora_weights()
    assert not np.array_equal(changed, before)
    assert np.array_equal(picture(pipeline, RED_ON_BLUE, step_count=4), before)


@pytest.mark.parametrize("text", ["a small red circle", "작은 빨간 원", "Zebra ünd 猫 🙂", "x" * 500])
def test_any_text_has_tokens(text: str) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(SHIPPED / "tokenizer")
    tokens = tokenizer(text, truncation=True, max_length=77).input_ids
    assert len(tokens) <= 77
    if len(tokens) < 77:
        assert tokenizer.decode(tokens, skip_special_tokens=True).replace(" ", "") == text.lower().replace(" ", "")


def test_words_of_captions_are_one_token_each() -> None:
    tokenizer = CLIPTokenizer.from_pretrained(SHIPPED / "tokenizer")
    assert len(tokenizer("a small red circle on the left of a blue star").input_ids) == 11 + 2
    assert len(tokenizer("파란 배경에 작은 빨간 원").input_ids) == 5 + 2
