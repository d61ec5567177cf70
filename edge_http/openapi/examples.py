"""Samples of the messages that newcomers meet first, by their full names. Tests hold each against its contract."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor

from edge_http.answers import document_of

_JOB_ID: Final = "01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a11"
_IMAGE_ID: Final = "01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a12"
_UPLOAD_ID: Final = "01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a13"
_USER_ID: Final = "01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a10"
_SECRET: Final = "correct horse battery"  # noqa: S105 - of nobody
_TEXT_TO_IMAGE: Final = {
    "prompt": "a red circle on a blue sea",
    "width_px": 256,
    "height_px": 256,
    "step_count": 20,
    "seed": "7",
}
_WAITING: Final = {
    "job_id": _JOB_ID,
    "state": "JOB_STATE_QUEUED",
    "text_to_image": {**_TEXT_TO_IMAGE, "model_id": "pingvas-tiny", "guidance_scale": 4.0, "image_count": 1},
    "credits_quoted": "0.660",
    "credits_held": "0.990",
    "queue_position": 0,
    "estimated_wait_seconds": 0.4,
    "estimated_wait_p90_seconds": 1.1,
    "tier": "TIER_FREE",
    "create_time": "2026-07-14T09:30:00.123456Z",
    "event_id": "1",
}

EXAMPLES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "pingvas.user.v1.RegisterRequest": {"email": "ada@example.com", "password": _SECRET, "display_name": "Ada"},
        "pingvas.user.v1.LoginRequest": {"email": "ada@example.com", "password": _SECRET},
        "pingvas.user.v1.User": {
            "user_id": _USER_ID,
            "account_id": _USER_ID,
            "email": "ada@example.com",
            "email_verified": True,
            "display_name": "Ada",
            "create_time": "2026-07-14T09:30:00.123456Z",
        },
        "pingvas.generation.v1.TextToImage": _TEXT_TO_IMAGE,
        "pingvas.generation.v1.ImageToImage": {
            "prompt": "the same harbour at night",
            "source": {"image_id": _IMAGE_ID},
            "strength": 0.6,
        },
        "pingvas.generation.v1.Inpaint": {
            "prompt": "a lighthouse",
            "source": {"image_id": _IMAGE_ID},
            "mask": {"upload_id": _UPLOAD_ID},
        },
        "pingvas.generation.v1.Upscale": {"source": {"image_id": _IMAGE_ID}, "scale_factor": 4},
        "pingvas.generation.v1.QuoteJobRequest": {"text_to_image": _TEXT_TO_IMAGE},
        "pingvas.generation.v1.CreateJobRequest": {"request_id": "my-first", "text_to_image": _TEXT_TO_IMAGE},
        "pingvas.generation.v1.Job": _WAITING,
        "pingvas.generation.v1.JobEvent": {
            "event_id": "2-5",
            "job_id": _JOB_ID,
            "state": "JOB_STATE_RUNNING",
            "create_time": "2026-07-14T09:30:01.5Z",
            "progress": {"step": 5, "step_count": 20, "percent": 25, "seconds_left": 0.5},
        },
        "pingvas.gallery.v1.CreateUploadRequest": {"content_type": "image/png", "size_bytes": "48213"},
    }
)


def answered_example(descriptor: Descriptor) -> Any | None:
    """Returns the sample of a message as answers have it, with every field that is always printed, or None without one."""
    example = EXAMPLES.get(descriptor.full_name)
    if example is None:
        return None
    return document_of(json_format.ParseDict(example, message_factory.GetMessageClass(descriptor)()))
