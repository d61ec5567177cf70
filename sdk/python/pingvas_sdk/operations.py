"""What to make: from plain arguments to the messages of the contract. The platform checks values and fills in the rest."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pingvas.generation.v1.generation_service_pb2 import CreateJobRequest, QuoteJobRequest
from pingvas.generation.v1.job_pb2 import ImageSource, ImageToImage, Inpaint, Job, LoraWeight, TextToImage, Upscale
from pingvas.generation.v1.webhook_pb2 import WebhookEvent

Operation: TypeAlias = TextToImage | ImageToImage | Inpaint | Upscale

_FIELDS = {
    TextToImage: "text_to_image",
    ImageToImage: "image_to_image",
    Inpaint: "inpaint",
    Upscale: "upscale",
}


def drawing(
    given: Mapping[str, Any],
    *,
    loras: Mapping[str, float] | None = None,
    source: ImageSource | None = None,
    mask: ImageSource | None = None,
) -> TextToImage | ImageToImage | Inpaint:
    """Returns what draws by a prompt: on nothing, on a picture, or on the masked part of one.

    `given` has the fields of the message by name; None means absent. Raises ValueError for a mask without a source, and for
    what doesn't fit into a field's type.
    """
    fields = {name: value for name, value in given.items() if value is not None}
    fields["loras"] = [LoraWeight(model_id=model_id, weight=weight) for model_id, weight in (loras or {}).items()]
    if source is None:
        if mask is not None:
            raise ValueError("a mask needs a source: the picture of which it says what to repaint")
        return TextToImage(**fields)
    if mask is None:
        return ImageToImage(source=source, **fields)
    return Inpaint(source=source, mask=mask, **fields)


def request_of(
    operation: Operation,
    request_id: str = "",
    *,
    webhook_url: str = "",
    webhook_events: Sequence[WebhookEvent.ValueType] = (),
) -> CreateJobRequest:
    """Returns the request that makes a job of an operation.

    `webhook_url` is an https address that gets the job's events: `webhook_events`, or its end if none are given.
    """
    request = CreateJobRequest(request_id=request_id, webhook_url=webhook_url, webhook_events=webhook_events)
    getattr(request, _FIELDS[type(operation)]).CopyFrom(operation)
    return request


def quote_of(operation: Operation) -> QuoteJobRequest:
    """Returns the request that asks for the price of an operation."""
    request = QuoteJobRequest()
    getattr(request, _FIELDS[type(operation)]).CopyFrom(operation)
    return request


def operation_of(job: Job) -> Operation:
    """Returns what a job does, with every default filled in."""
    operation: Operation = getattr(job, job.WhichOneof("operation") or "text_to_image")
    return operation
