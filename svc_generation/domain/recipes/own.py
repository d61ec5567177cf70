"""Our own recipes, which `gpu_worker.pictures.recipe` writes into every picture, by their JSON form."""

from collections.abc import Mapping
from typing import Any, Final

from pingvas.vocabulary import Operation as OperationKind

from svc_generation.domain.recipes.findings import Findings, Origin, recipe_invalid
from svc_generation.domain.recipes.json_text import object_in

KEYWORD: Final = "pingvas_recipe"
_FORMAT: Final = "pingvas-recipe/1"
_FIRST_SEED_BITS: Final = 32
"""How many bits of the seed counted when recipes didn't say it yet."""
_SCALE_FACTORS: Final = (2, 4)
_HEX_DIGITS_OF_SHA256: Final = 64
# What tells of the circumstances, and would change nothing in a request.
_CIRCUMSTANCES: Final = frozenset({"format", "image_index", "device", "libraries", "seed_bits"})
_PARAMETERS: Final = frozenset(
    {
        "operation",
        "model",
        "loras",
        "prompt",
        "negative_prompt",
        "width_px",
        "height_px",
        "step_count",
        "guidance_scale",
        "seed",
        "scheduler",
        "source_sha256",
        "mask_sha256",
        "strength",
        "mask_feather_px",
        "scale_factor",
    }
)


def read_own(text: str) -> Findings:
    """Reads a recipe of ours.

    Raises:
        ServiceError: RECIPE_INVALID; also for one of a later release.
    """
    recipe = object_in(text, "recipe")
    if recipe.get("format") != _FORMAT:
        raise recipe_invalid("format", "its recipe is of another release")
    found = Findings(Origin.PINGVAS)
    try:
        found.kind = OperationKind(recipe.get("operation", ""))
    except ValueError:
        raise recipe_invalid("format", "its recipe is of an operation that is unknown here") from None
    found.take_prompt(recipe.get("prompt"))
    _take_model(found, recipe.get("model"))
    _take_seed(found, recipe)
    found.take_step_count(recipe.get("step_count"))
    if found.kind is OperationKind.UPSCALE:
        _take_scale_factor(found, recipe.get("scale_factor", 2))
    else:
        _take_drawing(found, recipe)
    found.source_sha256 = _sha256(recipe.get("source_sha256"))
    found.mask_sha256 = _sha256(recipe.get("mask_sha256"))
    for part in sorted(recipe.keys() - _PARAMETERS - _CIRCUMSTANCES):
        found.leave_out(part, recipe[part], "It is unknown here.")
    return found


def _take_drawing(found: Findings, recipe: Mapping[str, Any]) -> None:
    found.take_negative_prompt(recipe.get("negative_prompt"))
    found.take_size(recipe.get("width_px"), recipe.get("height_px"))
    found.take_guidance_scale(recipe.get("guidance_scale"))
    scheduler = recipe.get("scheduler")
    found.scheduler = scheduler if isinstance(scheduler, str) else ""
    loras = recipe.get("loras", ())
    for lora in loras if isinstance(loras, list) else ():
        if isinstance(lora, dict):
            found.take_lora(lora.get("model_id"), lora.get("weight"), _files(lora))
    if "strength" in recipe:
        found.take_strength(recipe["strength"])
    if "mask_feather_px" in recipe:
        found.take_mask_feather(recipe["mask_feather_px"])


def _take_model(found: Findings, model: object) -> None:
    if isinstance(model, dict):
        found.take_model(model.get("model_id"), _files(model))


def _take_seed(found: Findings, recipe: Mapping[str, Any]) -> None:
    found.take_seed(recipe.get("seed"))
    if found.seed is not None and "seed_bits" not in recipe:
        found.seed %= 2**_FIRST_SEED_BITS


def _take_scale_factor(found: Findings, factor: object) -> None:
    if factor in _SCALE_FACTORS and isinstance(factor, int):
        found.scale_factor = factor
    else:
        found.leave_out("scale_factor", factor, "It must be 2 or 4.")


def _files(entry: Mapping[str, Any]) -> dict[str, str]:
    files = entry.get("files")
    return files if isinstance(files, dict) else {}


def _sha256(value: object) -> str:
    is_hash = isinstance(value, str) and len(value) == _HEX_DIGITS_OF_SHA256 and value.isascii() and value.isalnum()
    return str(value) if is_hash else ""
