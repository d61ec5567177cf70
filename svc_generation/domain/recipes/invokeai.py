"""Notes of InvokeAI: one JSON object with a key for each parameter, since its version 3."""

from collections.abc import Mapping
from typing import Any, Final

from pingvas.vocabulary import Operation as OperationKind

from svc_generation.domain.recipes.findings import NOTHING_LIKE_IT, Findings, Origin
from svc_generation.domain.recipes.json_text import object_in
from svc_generation.domain.recipes.samplers import take_sampler

KEYWORD: Final = "invokeai_metadata"
# What says nothing of the picture: the program's version, where noise was drawn, and what is off.
_CIRCUMSTANCES: Final = frozenset({"app_version", "rand_device", "generation_mode"})
_TAKEN: Final = frozenset(
    {
        "positive_prompt",
        "negative_prompt",
        "width",
        "height",
        "seed",
        "cfg_scale",
        "guidance",
        "steps",
        "scheduler",
        "model",
        "loras",
        "strength",
    }
)


def read_invokeai(text: str) -> Findings:
    """Reads a note of InvokeAI.

    Raises:
        ServiceError: RECIPE_INVALID.
    """
    note = object_in(text, "InvokeAI metadata")
    found = Findings(Origin.INVOKEAI)
    _take_kind(found, note)
    found.take_prompt(note.get("positive_prompt"), "positive_prompt")
    found.take_negative_prompt(note.get("negative_prompt"), "negative_prompt")
    if _has(note, "width") or _has(note, "height"):
        found.take_size(note.get("width"), note.get("height"))
    if _has(note, "seed"):
        found.take_seed(note["seed"])
    if _has(note, "steps"):
        found.take_step_count(note["steps"])
    # FLUX has both: there "guidance" is what the model was distilled with, and a scale of 1 turns the other off.
    for part in ("guidance", "cfg_scale"):
        if _has(note, part):
            if found.guidance_scale is None:
                found.take_guidance_scale(note[part], part)
            else:
                found.leave_out(part, note[part])
    if isinstance(note.get("scheduler"), str):
        take_sampler(found, "scheduler", note["scheduler"])
    _take_models(found, note)
    for part, value in note.items():
        if part not in _TAKEN | _CIRCUMSTANCES and value not in (None, False, "", []):
            found.leave_out(part, value)
    return found


def _take_kind(found: Findings, note: Mapping[str, Any]) -> None:
    mode = str(note.get("generation_mode", ""))[:50]
    if mode.endswith(("inpaint", "outpaint")):
        found.kind = OperationKind.INPAINT
    elif mode.endswith("img2img"):
        found.kind = OperationKind.IMAGE_TO_IMAGE
    if not _has(note, "strength"):
        return
    if found.kind is OperationKind.TEXT_TO_IMAGE:
        found.leave_out("strength", note["strength"])
    else:
        found.take_strength(note["strength"])


def _take_models(found: Findings, note: Mapping[str, Any]) -> None:
    model = note.get("model")
    if isinstance(model, dict):
        found.take_model(model.get("name") or model.get("model_name"))
    loras = note.get("loras")
    for lora in loras if isinstance(loras, list) else ():
        named = (lora.get("model") or lora.get("lora")) if isinstance(lora, dict) else None
        if isinstance(named, dict):
            found.take_lora(named.get("name") or named.get("model_name"), lora.get("weight", 1.0))
        else:
            found.leave_out("loras", lora, NOTHING_LIKE_IT)


def _has(note: Mapping[str, Any], part: str) -> bool:
    return note.get(part) is not None
