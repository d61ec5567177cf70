"""Operations as commands and tables speak of them: from options to messages, and from a job to what it does."""

from typing import TypeAlias, TypeVar

from pingvas.generation.v1.job_pb2 import ImageSource, ImageToImage, Inpaint, Job, LoraWeight, TextToImage, Upscale

from studio.cli.failures import CommandError, ExitCode

Operation: TypeAlias = TextToImage | ImageToImage | Inpaint | Upscale
Asked = TypeVar("Asked", TextToImage, ImageToImage, Inpaint, Upscale)


def build(kind: type[Asked], options: dict[str, object]) -> Asked:
    """Returns an operation of what was given; the server checks it and fills in the rest.

    Raises CommandError for a number that the contract can't even carry.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return kind(**given)  # type: ignore[arg-type]
    except ValueError as error:
        raise CommandError(
            str(error), advice="Use a number that fits into 32 bits.", exit_code=ExitCode.USAGE
        ) from error


def drawing(
    options: dict[str, object], source: ImageSource | None = None, mask: ImageSource | None = None
) -> TextToImage | ImageToImage | Inpaint:
    """Returns the operation that draws by a prompt: on nothing, on a picture, or on the masked part of one."""
    if source is None:
        return build(TextToImage, options)
    if mask is None:
        return build(ImageToImage, {**options, "source": source})
    return build(Inpaint, {**options, "source": source, "mask": mask})


def lora_weight(text: str) -> LoraWeight:
    """Reads "MODEL_ID" or "MODEL_ID:WEIGHT"; raises CommandError when the weight is no number."""
    model_id, separator, weight = text.partition(":")
    if not separator:
        return LoraWeight(model_id=model_id)
    try:
        return LoraWeight(model_id=model_id, weight=float(weight))
    except ValueError:
        raise CommandError(
            f"the weight {weight!r} of the LoRA {model_id} is no number",
            advice="Write it as in --lora ink-lines:0.8.",
            exit_code=ExitCode.USAGE,
        ) from None


def recipe_line(operation: Operation) -> str:
    """Returns what makes the pictures of an operation again, in a line."""
    if isinstance(operation, Upscale):
        return f"{operation.model_id}, {operation.scale_factor} times as large"
    size = f"{operation.width_px}x{operation.height_px}"
    kind = "" if isinstance(operation, TextToImage) else f", strength {operation.strength:g}"
    loras = "".join(f", {lora.model_id}:{lora.weight:g}" for lora in operation.loras)
    return f"{operation.model_id}{loras}, {size}, {operation.step_count} steps{kind}, seed {operation.seed}"


def partial_lora_lines(job: Job) -> tuple[str, ...]:
    """Returns a line for each LoRA of which less than all was applied; its pictures were made with the rest."""
    found = {
        lora.model_id: (lora.applied_module_count, lora.total_module_count)
        for image in job.images
        for lora in image.partial_loras
    }
    return tuple(
        f"{model_id}: {applied} of its {total} modules were applied; the model has no place for the others"
        for model_id, (applied, total) in found.items()
    )
