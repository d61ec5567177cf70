"""The recipe of a picture: all that is needed to make the same pixels again on the same device.

Owns its JSON form, which lives for ever in pictures that people downloaded: fields are added, never renamed, and what is
absent means what it meant before the field was there.
"""

import io
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from PIL import Image
from pingvas.vocabulary import Operation

from gpu_worker.models.files import ModelSpec
from gpu_worker.pictures.inputs import NO_INPUTS, Inputs
from gpu_worker.render.interface import LoraUse, RenderedImage, RenderResult, RenderSpec

Recipe: TypeAlias = Mapping[str, Any]
"""A JSON object."""

RECIPE_KEYWORD: Final = "pingvas_recipe"
"""Keyword of the PNG text chunk that holds the recipe."""
_FORMAT: Final = "pingvas-recipe/1"
_SEED_BITS: Final = 53
"""How many bits of the seed count: see `seeding`. In recipes that don't say it, as many as `_FIRST_SEED_BITS`."""
_FIRST_SEED_BITS: Final = 32
_UNKNOWN_FORMAT: Final = "The picture has no recipe that can be read here."


class RecipeError(Exception):
    """A recipe that can't be followed: it is none, or what it names isn't what is there; the message says which."""


def image_recipe(
    spec: RenderSpec, image: RenderedImage, result: RenderResult, inputs: Inputs = NO_INPUTS
) -> dict[str, Any]:
    """Returns the recipe of one image of a render; its seed repeats this image alone, as the first of a job of one."""
    return {
        "format": _FORMAT,
        "operation": spec.operation.value,
        "model": _model_entry(spec.model),
        "loras": [
            _model_entry(use.model) | {"weight": use.weight} | _coverage_entry(use, result) for use in spec.loras
        ],
        "prompt": spec.prompt,
        "negative_prompt": spec.negative_prompt,
        "width_px": spec.width_px,
        "height_px": spec.height_px,
        "step_count": spec.step_count,
        "guidance_scale": spec.guidance_scale,
        # A string, as the API has it: JavaScript's numbers end at 2^53.
        "seed": str(image.seed),
        "seed_bits": _SEED_BITS,
        "image_index": image.index,
        "scheduler": spec.scheduler,
        **_input_entries(spec, inputs),
        "device": result.device,
        "libraries": dict(result.library_versions),
    }


def recipe_json(recipe: Recipe) -> bytes:
    """Returns a recipe as UTF-8 JSON, the same bytes for the same recipe."""
    return json.dumps(recipe, ensure_ascii=False, sort_keys=True, indent=1).encode()


def recipe_of_png(data: bytes) -> Recipe:
    """Reads the recipe out of a picture; raises RecipeError when it has none."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            recipe = json.loads(image.text[RECIPE_KEYWORD])  # type: ignore[attr-defined]
    except (OSError, SyntaxError, ValueError, KeyError) as error:
        raise RecipeError(_UNKNOWN_FORMAT) from error
    if not isinstance(recipe, dict) or recipe.get("format") != _FORMAT:
        raise RecipeError(_UNKNOWN_FORMAT)
    return recipe


def spec_of_recipe(
    recipe: Recipe, find_model: Callable[[str, str], ModelSpec], inputs: Inputs = NO_INPUTS
) -> RenderSpec:
    """Returns what renders the recipe's picture again, as the only one of a job.

    Args:
        recipe: of one picture.
        find_model: returns the model of an id and a revision.
        inputs: source and mask, which a recipe names by their hashes only.

    Raises:
        RecipeError: files of a model, or the inputs, are not those that the picture was made with.
    """
    if (recipe.get("source_sha256", ""), recipe.get("mask_sha256", "")) != (inputs.source_sha256, inputs.mask_sha256):
        raise RecipeError("The picture was made from another source or mask.")
    try:
        return _spec(recipe, find_model, inputs)
    except (KeyError, TypeError, ValueError) as error:
        raise RecipeError(_UNKNOWN_FORMAT) from error


def _spec(recipe: Recipe, find_model: Callable[[str, str], ModelSpec], inputs: Inputs) -> RenderSpec:
    loras = (LoraUse(_model(entry, find_model), entry["weight"]) for entry in recipe.get("loras", ()))
    return RenderSpec(
        model=_model(recipe["model"], find_model),
        prompt=recipe["prompt"],
        negative_prompt=recipe["negative_prompt"],
        width_px=recipe["width_px"],
        height_px=recipe["height_px"],
        step_count=recipe["step_count"],
        guidance_scale=recipe["guidance_scale"],
        seed=int(recipe["seed"]) % 2 ** recipe.get("seed_bits", _FIRST_SEED_BITS),
        image_count=1,
        scheduler=recipe["scheduler"],
        operation=Operation(recipe["operation"]),
        loras=tuple(loras),
        source=inputs.source,
        mask=inputs.mask,
        strength=recipe.get("strength", 1.0),
        mask_feather_px=recipe.get("mask_feather_px", 0),
        scale_factor=recipe.get("scale_factor", 2),
    )


def _model_entry(model: ModelSpec) -> dict[str, Any]:
    return {
        "model_id": model.model_id,
        "revision": model.revision,
        "family": model.family,
        "files": {file.path: file.sha256 for file in model.files},
    }


def _coverage_entry(use: LoraUse, result: RenderResult) -> dict[str, int]:
    """Returns how much of a LoRA was applied; nothing for one of weight 0, which needn't be read."""
    for coverage in result.loras:
        if coverage.model_id == use.model.model_id:
            return {"applied_modules": coverage.applied_modules, "total_modules": coverage.total_modules}
    return {}


def _input_entries(spec: RenderSpec, inputs: Inputs) -> dict[str, Any]:
    """Returns what only some operations have."""
    match spec.operation:
        case Operation.TEXT_TO_IMAGE:
            return {}
        case Operation.IMAGE_TO_IMAGE:
            return {"source_sha256": inputs.source_sha256, "strength": spec.strength}
        case Operation.INPAINT:
            return {
                "source_sha256": inputs.source_sha256,
                "mask_sha256": inputs.mask_sha256,
                "strength": spec.strength,
                "mask_feather_px": spec.mask_feather_px,
            }
        case Operation.UPSCALE:
            return {"source_sha256": inputs.source_sha256, "scale_factor": spec.scale_factor}


def _model(entry: Mapping[str, Any], find_model: Callable[[str, str], ModelSpec]) -> ModelSpec:
    model = find_model(entry["model_id"], entry["revision"])
    if {file.path: file.sha256 for file in model.files} != entry["files"]:
        raise RecipeError(f"The files of {model.model_id} are not those that the picture was made with.")
    return model
