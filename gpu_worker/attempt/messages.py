"""Messages of the workers' service to values and back. The names of the fields are the contract's."""

from collections.abc import Sequence
from typing import TypeAlias

from pingvas.generation.v1 import job_pb2
from pingvas.models.v1 import model_pb2
from pingvas.vocabulary import Operation
from pingvas.worker.v1 import worker_service_pb2

from gpu_worker.models.files import ModelFile, ModelSpec
from gpu_worker.pictures.encode import Artifact
from gpu_worker.render.interface import LoraCoverage, LoraUse, RenderedImage, RenderResult, RenderSpec

_Prompted: TypeAlias = job_pb2.TextToImage | job_pb2.ImageToImage | job_pb2.Inpaint


def render_spec(attempt: worker_service_pb2.Attempt) -> RenderSpec:
    """Converts an attempt to what the pipeline renders, but for the pixels that it begins with.

    An upscaling has no size before its source is known: it is 0 until then.
    """
    match attempt.WhichOneof("operation"):
        case "text_to_image":
            return _generation(attempt, attempt.text_to_image, Operation.TEXT_TO_IMAGE)
        case "image_to_image":
            return _generation(
                attempt,
                attempt.image_to_image,
                Operation.IMAGE_TO_IMAGE,
                strength=attempt.image_to_image.strength,
            )
        case "inpaint":
            return _generation(
                attempt,
                attempt.inpaint,
                Operation.INPAINT,
                strength=attempt.inpaint.strength,
                mask_feather_px=attempt.inpaint.mask_feather_px,
            )
        case "upscale":
            return _upscaling(attempt)
        case unknown:
            raise ValueError(f"this worker doesn't know the operation {unknown!r}")


def _generation(
    attempt: worker_service_pb2.Attempt,
    operation: _Prompted,
    kind: Operation,
    *,
    strength: float = 1.0,
    mask_feather_px: int = 0,
) -> RenderSpec:
    return RenderSpec(
        model=model_spec(attempt.model),
        prompt=operation.prompt,
        negative_prompt=operation.negative_prompt,
        width_px=operation.width_px,
        height_px=operation.height_px,
        step_count=operation.step_count,
        guidance_scale=operation.guidance_scale,
        seed=operation.seed,
        image_count=operation.image_count,
        scheduler=operation.scheduler,
        operation=kind,
        loras=_loras(attempt, operation.loras),
        strength=strength,
        mask_feather_px=mask_feather_px,
    )


def _upscaling(attempt: worker_service_pb2.Attempt) -> RenderSpec:
    operation = attempt.upscale
    model = attempt.model.model
    return RenderSpec(
        model=model_spec(attempt.model),
        prompt=operation.prompt,
        negative_prompt="",
        width_px=0,
        height_px=0,
        step_count=operation.step_count,
        guidance_scale=model.default_guidance_scale,
        seed=operation.seed,
        image_count=1,
        scheduler=model.schedulers[0] if model.schedulers else "",
        operation=Operation.UPSCALE,
        scale_factor=operation.scale_factor,
    )


def _loras(attempt: worker_service_pb2.Attempt, uses: Sequence[job_pb2.LoraWeight]) -> tuple[LoraUse, ...]:
    return tuple(
        LoraUse(model_spec(message), use.weight if use.HasField("weight") else 1.0)
        for message, use in zip(attempt.loras, uses, strict=True)
    )


def model_spec(message: model_pb2.ModelSpec) -> ModelSpec:
    """Converts what the catalogue says of a model to what the pipeline loads."""
    model = message.model
    files = tuple(ModelFile(file.path, file.size_bytes, file.sha256) for file in message.files)
    return ModelSpec(model.model_id, model.revision, model.family, files)


def completion(
    attempt: worker_service_pb2.Attempt, result: RenderResult, artifacts: Sequence[Sequence[Artifact]]
) -> worker_service_pb2.CompleteAttemptRequest:
    """Writes the report of pictures; artifacts are original, thumbnail and metadata of each, in the slots' order."""
    return worker_service_pb2.CompleteAttemptRequest(
        job_id=attempt.job_id,
        account_id=attempt.account_id,
        attempt=attempt.attempt,
        gpu_milliseconds=round(result.gpu_seconds * 1000),
        images=[
            _reported(slot.image_id, image, of_image, result.loras)
            for slot, image, of_image in zip(attempt.slots, result.images, artifacts, strict=True)
        ],
    )


def _reported(
    image_id: str, image: RenderedImage, artifacts: Sequence[Artifact], loras: Sequence[LoraCoverage]
) -> worker_service_pb2.ReportedImage:
    original, thumbnail, metadata = (
        worker_service_pb2.ReportedObject(size_bytes=artifact.size_bytes, sha256=artifact.sha256)
        for artifact in artifacts
    )
    height, width, _ = image.pixels.shape
    return worker_service_pb2.ReportedImage(
        image_id=image_id,
        width_px=width,
        height_px=height,
        seed=image.seed,
        original=original,
        thumbnail=thumbnail,
        metadata=metadata,
        partial_loras=[
            job_pb2.LoraCoverage(
                model_id=lora.model_id,
                applied_module_count=lora.applied_modules,
                total_module_count=lora.total_modules,
            )
            for lora in loras
            if lora.applied_modules < lora.total_modules
        ],
    )
