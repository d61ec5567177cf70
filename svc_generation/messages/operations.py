"""The four operations as one kind of value: taken out of requests, filled with defaults, put into answers.

What their fields may hold is checked by the contract and by the domain.
"""

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from pingvas.gallery.v1 import source_service_pb2
from pingvas.generation.v1 import generation_service_pb2, job_pb2
from pingvas.generation.v1.job_pb2 import ImageSource, ImageToImage, Inpaint, LoraWeight, TextToImage, Upscale
from pingvas.vocabulary import Operation as OperationKind
from pingvas.worker.v1 import worker_service_pb2

from svc_generation.domain.limits import Picture
from svc_generation.domain.operations import (
    DEFAULT_FEATHER_PX,
    DEFAULT_LORA_WEIGHT,
    DEFAULT_SCALE_FACTOR,
    DEFAULT_STRENGTHS,
)
from svc_generation.domain.pricing import Work, steps_that_run
from svc_generation.domain.prompts import ReadPrompt
from svc_generation.domain.sizes import Size

Denoising: TypeAlias = TextToImage | ImageToImage | Inpaint
"""The operations that draw by a prompt; fields of one name mean the same in each."""
Operation: TypeAlias = Denoising | Upscale

_CLASSES: Final = MappingProxyType[OperationKind, type[Operation]](
    {
        OperationKind.TEXT_TO_IMAGE: TextToImage,
        OperationKind.IMAGE_TO_IMAGE: ImageToImage,
        OperationKind.INPAINT: Inpaint,
        OperationKind.UPSCALE: Upscale,
    }
)
_KINDS: Final = MappingProxyType({message_class: kind for kind, message_class in _CLASSES.items()})


def asked(request: generation_service_pb2.CreateJobRequest | generation_service_pb2.QuoteJobRequest) -> Operation:
    """Returns the operation that a request asks for; the contract requires one."""
    operation: Operation = getattr(request, OperationKind(request.WhichOneof("operation") or ""))
    return operation


def parsed(kind: str, data: bytes) -> Operation:
    """Reads a stored operation."""
    return _CLASSES[OperationKind(kind)].FromString(data)


def put(message: job_pb2.Job | worker_service_pb2.Attempt, operation: Operation) -> None:
    """Writes an operation into a message that holds any of them."""
    getattr(message, kind_of(operation)).CopyFrom(operation)


def kind_of(operation: Operation) -> OperationKind:
    """Names an operation."""
    return _KINDS[type(operation)]


def image_count(operation: Operation) -> int:
    """Tells how many pictures an operation makes; an upscaling makes one."""
    return 1 if isinstance(operation, Upscale) else operation.image_count


def source_of(operation: Operation) -> ImageSource | None:
    """Returns what an operation begins with, if anything."""
    return None if isinstance(operation, TextToImage) else operation.source


def mask_of(operation: Operation) -> ImageSource | None:
    """Returns what says where to paint, if anything."""
    return operation.mask if isinstance(operation, Inpaint) else None


def origin_of(operation: Operation) -> Mapping[str, Any]:
    """Returns what the gallery keeps of how a picture was made, as fields of ImportImagesRequest."""
    source = source_of(operation)
    origin = {
        "prompt": operation.prompt,
        "operation": f"IMAGE_OPERATION_{kind_of(operation).name}",
        "parent_image_id": source.image_id if source else "",
    }
    if isinstance(operation, Upscale):
        return origin
    made_with = operation.applied_preset
    return {**origin, "template_id": made_with.template_id, "style_id": made_with.style_id}


def picture(operation: Denoising) -> Picture:
    """Extracts what the checks look at."""
    return Picture(
        width_px=operation.width_px,
        height_px=operation.height_px,
        step_count=operation.step_count,
        image_count=operation.image_count,
        guidance_scale=operation.guidance_scale if operation.HasField("guidance_scale") else None,
        scheduler=operation.scheduler,
    )


def work(operation: Denoising) -> Work:
    """Extracts what the price depends on; every default must be filled in."""
    steps = operation.step_count
    if not isinstance(operation, TextToImage):
        steps = steps_that_run(steps, operation.strength)
    return Work(operation.width_px, operation.height_px, steps, operation.image_count)


def with_loras(wish: Denoising, read: ReadPrompt, model_ids: Sequence[str]) -> Denoising:
    """Returns an operation with the prompt as it was read, and the LoRAs that it named behind those of `loras`."""
    if not read.loras:
        return wish
    result = copy.deepcopy(wish)
    result.prompt = read.text
    for tag, model_id in zip(read.loras, model_ids, strict=True):
        result.loras.append(LoraWeight(model_id=model_id, weight=tag.weight))
    return result


def filled(wish: Denoising, chosen: Picture, model_id: str, seed: int) -> Denoising:
    """Returns an operation with every default filled in."""
    result = copy.deepcopy(wish)
    result.model_id = model_id
    result.seed = seed
    result.width_px, result.height_px = chosen.width_px, chosen.height_px
    result.step_count, result.image_count = chosen.step_count, chosen.image_count
    result.scheduler = chosen.scheduler
    result.guidance_scale = chosen.guidance_scale or 0.0
    for lora in result.loras:
        if not lora.HasField("weight"):
            lora.weight = DEFAULT_LORA_WEIGHT
    if not isinstance(result, TextToImage) and not result.HasField("strength"):
        result.strength = DEFAULT_STRENGTHS[kind_of(result)]
    if isinstance(result, Inpaint) and not result.HasField("mask_feather_px"):
        result.mask_feather_px = DEFAULT_FEATHER_PX
    return result


def filled_upscale(wish: Upscale, model_id: str, step_count: int, seed: int) -> Upscale:
    """Returns an upscaling with every default filled in; `step_count` is the model's own."""
    result = copy.deepcopy(wish)
    result.model_id = model_id
    result.seed = seed
    result.step_count = wish.step_count or step_count
    result.scale_factor = wish.scale_factor or DEFAULT_SCALE_FACTOR
    return result


def size_of(source: source_service_pb2.Source) -> Size:
    """Extracts the size of a source as it is seen."""
    return Size(source.width_px, source.height_px)
