"""The recipe of a picture: all that is needed to make the same pixels again on the same device.

Owns its JSON form, which lives for ever in pictures that people downloaded: fields are added, never renamed.
"""

import json
from collections.abc import Mapping
from typing import TypeAlias

from gpu_worker.rendering import RenderedImage, RenderResult, RenderSpec

Recipe: TypeAlias = Mapping[str, object]
"""A JSON object."""

RECIPE_KEYWORD = "pingvas_recipe"
"""Keyword of the PNG text chunk that holds the recipe."""
_FORMAT = "pingvas-recipe/1"


def image_recipe(spec: RenderSpec, image: RenderedImage, result: RenderResult) -> Recipe:
    """Returns the recipe of one image of a render; its seed repeats this image alone, as the first of a job of one."""
    return {
        "format": _FORMAT,
        "operation": "text_to_image",
        "model": {
            "model_id": spec.model.model_id,
            "revision": spec.model.revision,
            "family": spec.model.family,
            "files": {file.path: file.sha256 for file in spec.model.files},
        },
        "prompt": spec.prompt,
        "negative_prompt": spec.negative_prompt,
        "width_px": spec.width_px,
        "height_px": spec.height_px,
        "step_count": spec.step_count,
        "guidance_scale": spec.guidance_scale,
        # A string, as the API has it: JavaScript's numbers end at 2^53.
        "seed": str(image.seed),
        "image_index": image.index,
        "scheduler": spec.scheduler,
        "device": result.device,
        "libraries": dict(result.library_versions),
    }


def recipe_json(recipe: Recipe) -> bytes:
    """Returns a recipe as UTF-8 JSON, the same bytes for the same recipe."""
    return json.dumps(recipe, ensure_ascii=False, sort_keys=True, indent=1).encode()
