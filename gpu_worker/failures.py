"""How an attempt ends without pictures, in words for the job's owner. Whether there is another attempt svc_generation says."""

from typing import Final

import structlog

from gpu_worker.model_files import ModelFilesError
from gpu_worker.rendering import InvalidOutputError, LoraMismatchError, OutOfMemoryError, RenderError
from svc_common.errors import Reason

_MESSAGE_LENGTH: Final = 500
"""What a report may say; names in a LoRA's file can be of any length."""
_log = structlog.get_logger(__name__)


class AttemptFailedError(Exception):
    """An attempt that ends without pictures, to be reported; no reason means that the job was cancelled.

    Attributes:
        reason: why, or None.
        message: the same for a person; holds no trace, no path and no address.
        gpu_seconds: device time that was used.

    """

    def __init__(self, reason: Reason | None, message: str = "", gpu_seconds: float = 0.0) -> None:
        """Carries what the report says."""
        super().__init__(message or "cancelled")
        self.reason = reason
        self.message = message
        self.gpu_seconds = gpu_seconds


def failure_of(error: Exception) -> AttemptFailedError:
    """Tells a person what went wrong in a render; a trace is for the log alone, and for what nobody foresaw."""
    is_known = isinstance(error, RenderError | ModelFilesError)
    _log.warning("job.render_failed", error=repr(error), exc_info=None if is_known else error)
    if isinstance(error, OutOfMemoryError):
        return AttemptFailedError(
            Reason.OUT_OF_MEMORY, "The picture didn't fit into the GPU's memory. Ask for a smaller one."
        )
    if isinstance(error, InvalidOutputError):
        return AttemptFailedError(
            Reason.INVALID_OUTPUT, "The model produced no usable picture. Try another seed or scheduler."
        )
    if isinstance(error, ModelFilesError):
        return AttemptFailedError(Reason.MODEL_LOAD_FAILED, "The model couldn't be loaded. Try another model.")
    if isinstance(error, LoraMismatchError):
        return AttemptFailedError(Reason.LORA_INCOMPATIBLE, f"The picture couldn't be made: {error}."[:_MESSAGE_LENGTH])
    if isinstance(error, RenderError):
        return AttemptFailedError(Reason.PIPELINE_FAILED, f"The picture couldn't be made: {error}.")
    return AttemptFailedError(
        Reason.PIPELINE_FAILED, "The pipeline failed. Try other parameters; if it stays so, report the job."
    )
