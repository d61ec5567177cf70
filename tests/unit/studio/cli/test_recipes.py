"""What `pingvas generate --from` makes of a recipe: the same job, with what was given in place of what the recipe says."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from pingvas.generation.v1.job_pb2 import ImageSource, ImageToImage, Inpaint, LoraWeight, TextToImage, Upscale
from pingvas.generation.v1.recipe_pb2 import Recipe, RecipeRemark

from studio.cli.failures import CommandError, ExitCode
from studio.cli.recipes import check_source, operation_from, tell
from tests.unit.studio.cli.test_commands import pingvas

RED = ImageSource(upload_id="01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a11")
MASK = ImageSource(image_id="01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a12")
INK = LoraWeight(model_id="ink", weight=0.5)
DRAWN: dict[str, Any] = {"prompt": "a fox", "model_id": "m", "seed": 2**53 - 1, "guidance_scale": 0.0, "loras": [INK]}


def test_recipe_is_followed_as_it_is_when_nothing_is_given() -> None:
    recipe = Recipe(text_to_image=TextToImage(**DRAWN))
    changes: dict[str, object] = {"prompt": None, "seed": None, "loras": None}
    assert operation_from(recipe, changes) == recipe.text_to_image


def test_what_is_given_stands_in_place_of_what_the_recipe_says() -> None:
    chalk = LoraWeight(model_id="chalk")
    made = operation_from(Recipe(text_to_image=TextToImage(**DRAWN)), {"prompt": "a wolf", "loras": [chalk], "seed": 0})
    assert made == TextToImage(**DRAWN | {"prompt": "a wolf", "loras": [chalk], "seed": 0})


def test_picture_that_is_given_makes_it_a_drawing_on_that_picture() -> None:
    recipe = Recipe(text_to_image=TextToImage(**DRAWN))
    assert operation_from(recipe, {"strength": 0.25}, RED) == ImageToImage(**DRAWN, source=RED, strength=0.25)
    assert operation_from(recipe, {}, RED, MASK) == Inpaint(**DRAWN, source=RED, mask=MASK)


def test_source_and_mask_of_the_recipe_must_be_given() -> None:
    painted = Recipe(inpaint=Inpaint(**DRAWN, strength=0.5), source_sha256="12" * 32, mask_sha256="34" * 32)
    for given, option, sha256 in (((), "--image", "12" * 32), ((RED,), "--mask", "34" * 32)):
        with pytest.raises(CommandError, match=sha256) as refused:
            operation_from(painted, {}, *given)
        assert option in refused.value.advice
    assert operation_from(painted, {}, RED, MASK) == Inpaint(**DRAWN, strength=0.5, source=RED, mask=MASK)
    enlarged = Recipe(upscale=Upscale(model_id="m", seed=3, scale_factor=4))
    assert operation_from(enlarged, {"seed": 4}, RED) == Upscale(model_id="m", seed=4, scale_factor=4, source=RED)


def test_option_that_the_operation_has_not_is_wrong_usage() -> None:
    with pytest.raises(CommandError, match="no width_px") as refused:
        operation_from(Recipe(upscale=Upscale()), {"width_px": 64}, RED)
    assert refused.value.exit_code is ExitCode.USAGE
    with pytest.raises(CommandError):
        operation_from(Recipe(text_to_image=TextToImage()), {"width_px": 2**40})


def test_remarks_are_told_on_standard_error_but_not_what_is_refused_anyway(capsys: pytest.CaptureFixture[str]) -> None:
    remarks = [
        RecipeRemark(kind="REMARK_KIND_LEFT_OUT", part="Clip skip", value="2", message="Nothing corresponds."),
        RecipeRemark(kind="REMARK_KIND_CHANGED", part="seed", message="Taken modulo 2^53."),
        RecipeRemark(kind="REMARK_KIND_NEEDED", part="source", message="Name the picture."),
    ]
    tell(Recipe(origin="RECIPE_ORIGIN_COMFYUI", remarks=remarks), "a.png")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "Recipe of a.png, written by ComfyUI.",
        "  left out: Clip skip (2). Nothing corresponds.",
        "  changed: seed. Taken modulo 2^53.",
    ]


def test_another_file_than_the_source_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"a")
    made = Recipe(source_sha256=hashlib.sha256(b"a").hexdigest())
    for recipe, name in ((made, str(file)), (made, None), (made, RED.upload_id), (Recipe(), str(file))):
        check_source(recipe, name)
    assert capsys.readouterr().err == ""
    check_source(Recipe(source_sha256="00" * 32), str(file))
    assert f"{file} isn't the file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "needs a PROMPT"),
        (("a fox", "--prompt", "a wolf"), "--prompt needs no PROMPT beside it"),
        (("a fox", "--new-seed"), "--new-seed needs --from"),
        (("--from", "a.png", "--new-seed", "--seed", "5"), "and no --seed"),
    ],
)
def test_options_that_contradict_each_other_are_wrong_usage(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    done = pingvas("generate", *arguments, data_dir=tmp_path)
    assert done.returncode == 2
    assert complaint in done.stderr
