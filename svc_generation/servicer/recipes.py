"""Reads recipes out of pictures, and says which of their models, LoRAs and schedulers there are here."""

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from pingvas.generation.v1 import job_pb2, recipe_pb2, recipe_service_pb2, recipe_service_pb2_grpc
from pingvas.models.v1 import model_pb2
from pingvas.vocabulary import Operation as OperationKind

from svc_common.caller import current_account
from svc_common.errors import Reason, ServiceError
from svc_generation.domain.limits import MOST_LORAS
from svc_generation.domain.prompts import LARGEST_LORA_WEIGHT, lora_model_ids, read_prompt, refuse_notation
from svc_generation.domain.recipes.findings import Findings, NamedModel, Origin, shown
from svc_generation.domain.recipes.reading import read_recipe
from svc_generation.usecases.lookups import Lookups

_AT_ONCE: Final = 1
"""Most pictures take a millisecond; a graph of two mebibytes takes half a second, in which the event loop must go on."""
_NO_SUCH_LORA: Final = "No LoRA here has this name."
_LORA_WEIGHTS: Final = f"Its weight must be from {-LARGEST_LORA_WEIGHT:g} to {LARGEST_LORA_WEIGHT:g}."


class RecipeServicer(recipe_service_pb2_grpc.RecipeServiceServicer):
    """Implements pingvas.generation.v1.RecipeService."""

    def __init__(self, lookups: Lookups) -> None:
        """Takes what knows the models."""
        self._lookups = lookups
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="recipes")

    async def ReadRecipe(self, request: recipe_service_pb2.ReadRecipeRequest, _context: object) -> recipe_pb2.Recipe:
        """Returns what made a picture."""
        found = await asyncio.get_running_loop().run_in_executor(self._pool, read_recipe, request.picture)
        recipe = recipe_pb2.Recipe(
            origin=f"RECIPE_ORIGIN_{found.origin.name}",  # type: ignore[arg-type]
            source_sha256=found.source_sha256,
            mask_sha256=found.mask_sha256,
        )
        model, recipe.model_match = await self._model(found)
        model_id = model.model.model_id if recipe.model_match in _NAMED else ""
        prompt = await self._prompt(found)
        if found.kind is OperationKind.UPSCALE:
            recipe.upscale.CopyFrom(_upscale(found, prompt, model_id))
        else:
            _check_scheduler(found, model.model)
            loras = await self._loras(found)
            getattr(recipe, found.kind).CopyFrom(_drawing(found, prompt, model_id, loras))
        _remark_needs(found, prompt)
        recipe.remarks.extend(
            recipe_pb2.RecipeRemark(
                kind=f"REMARK_KIND_{remark.kind.name}",  # type: ignore[arg-type]
                part=remark.part,
                value=remark.value,
                message=remark.message,
            )
            for remark in found.all_remarks()
        )
        return recipe

    async def _model(self, found: Findings) -> tuple[model_pb2.ModelSpec, "recipe_pb2.ModelMatch.ValueType"]:
        """Returns the model that the job is to have, and how it is related to the recipe's."""
        if found.model is None:
            return await self._lookups.model(""), recipe_pb2.MODEL_MATCH_UNSPECIFIED
        spec = await self._named(found.model.name, model_pb2.MODEL_KIND_CHECKPOINT)
        if spec is None:
            found.leave_out("model", found.model.name, "There is no model of this name here: the default one is used.")
            return await self._lookups.model(""), recipe_pb2.MODEL_MATCH_NONE
        if found.origin is not Origin.PINGVAS:
            return spec, recipe_pb2.MODEL_MATCH_NAME
        if _has_files(spec, found.model):
            return spec, recipe_pb2.MODEL_MATCH_SAME_FILES
        message = "Its files are others now than those that the picture was made with: it will look different."
        found.change("model", found.model.name, message)
        return spec, recipe_pb2.MODEL_MATCH_OTHER_FILES

    async def _prompt(self, found: Findings) -> str:
        """Returns the prompt without the LoRAs that it names, which join the others; says what in it is refused here."""
        field = f"{found.kind}.prompt"
        try:
            if found.kind is OperationKind.UPSCALE:
                refuse_notation(found.prompt, field)
                return found.prompt
            refuse_notation(found.negative_prompt, f"{found.kind}.negative_prompt")
            read = read_prompt(found.prompt, field)
        except ServiceError as refusal:
            found.need("prompt", "", refusal.message)
            return found.prompt
        for tag in read.loras:
            found.take_lora(tag.name, 1.0 if tag.weight is None else tag.weight)
        return read.text.strip()

    async def _loras(self, found: Findings) -> list[job_pb2.LoraWeight]:
        """Returns the LoRAs of the recipe that there are here."""
        chosen: dict[str, job_pb2.LoraWeight] = {}
        for lora in found.loras:
            written = f"{lora.name}:{lora.weight:g}"
            spec = await self._named(lora.name, model_pb2.MODEL_KIND_LORA)
            if spec is None:
                found.leave_out("LoRA", written, _NO_SUCH_LORA)
            elif spec.model.model_id in chosen or len(chosen) == MOST_LORAS:
                found.leave_out("LoRA", written, f"A job has at most {MOST_LORAS} LoRAs, each once.")
            elif abs(lora.weight) > LARGEST_LORA_WEIGHT:
                found.leave_out(
                    "LoRA", written, f"Its weight must be from -{LARGEST_LORA_WEIGHT:g} to {LARGEST_LORA_WEIGHT:g}."
                )
            else:
                if lora.files and not _has_files(spec, lora):
                    found.change(
                        "LoRA", lora.name, "Its files are others now than those that the picture was made with."
                    )
                chosen[spec.model.model_id] = job_pb2.LoraWeight(model_id=spec.model.model_id, weight=lora.weight)
        return list(chosen.values())

    async def _named(self, name: str, kind: "model_pb2.ModelKind.ValueType") -> model_pb2.ModelSpec | None:
        """Returns the model or LoRA that a name means, or None."""
        for model_id in _model_ids(name):
            try:
                spec = await self._lookups.model(model_id, current_account())
            except ServiceError as error:
                if error.reason is not Reason.MODEL_NOT_FOUND:
                    raise
                continue
            if spec.model.kind == kind:
                return spec
        return None


_NAMED: Final = frozenset(
    {recipe_pb2.MODEL_MATCH_SAME_FILES, recipe_pb2.MODEL_MATCH_OTHER_FILES, recipe_pb2.MODEL_MATCH_NAME}
)


def _model_ids(name: str) -> Iterable[str]:
    """Returns the ids that the name of a model or of its file may mean."""
    return lora_model_ids(name.removesuffix(".ckpt"))


def _has_files(spec: model_pb2.ModelSpec, named: NamedModel) -> bool:
    return {file.path: file.sha256 for file in spec.files} == named.files


def _check_scheduler(found: Findings, model: model_pb2.Model) -> None:
    """Leaves out a scheduler that the model doesn't have."""
    if found.scheduler == "euler" and "flow_match" in model.schedulers:
        found.scheduler = "flow_match"  # which is Euler's method on a flow
    if found.scheduler and found.scheduler not in model.schedulers:
        known = ", ".join(model.schedulers)
        found.leave_out("scheduler", found.scheduler, f"The model {model.model_id} has {known}.")
        found.scheduler = ""


def _drawing(
    found: Findings, prompt: str, model_id: str, loras: list[job_pb2.LoraWeight]
) -> job_pb2.TextToImage | job_pb2.ImageToImage | job_pb2.Inpaint:
    common: dict[str, Any] = {
        "prompt": prompt,
        "negative_prompt": found.negative_prompt,
        "model_id": model_id,
        "width_px": found.width_px,
        "height_px": found.height_px,
        "step_count": found.step_count,
        "guidance_scale": found.guidance_scale,
        "seed": found.seed,
        "image_count": 1,
        "scheduler": found.scheduler,
        "loras": loras,
    }
    match found.kind:
        case OperationKind.IMAGE_TO_IMAGE:
            return job_pb2.ImageToImage(**common, strength=found.strength)
        case OperationKind.INPAINT:
            return job_pb2.Inpaint(**common, strength=found.strength, mask_feather_px=found.mask_feather_px)
        case _:
            return job_pb2.TextToImage(**common)


def _upscale(found: Findings, prompt: str, model_id: str) -> job_pb2.Upscale:
    return job_pb2.Upscale(
        prompt=prompt,
        model_id=model_id,
        step_count=found.step_count or 0,
        seed=found.seed,
        scale_factor=found.scale_factor or 0,
    )


def _remark_needs(found: Findings, prompt: str) -> None:
    """Says what must be added before CreateJob takes the job."""
    if found.kind is not OperationKind.UPSCALE and not prompt:
        found.need("prompt", "", "The recipe has none: write one.")
    if found.kind is not OperationKind.TEXT_TO_IMAGE:
        found.need("source", shown(found.source_sha256), "Name the picture that it was made from.")
    if found.kind is OperationKind.INPAINT:
        found.need("mask", shown(found.mask_sha256), "Name the mask that it was made with.")
