"""How an attempt ends without pictures, in words for the job's owner. Whether there is another attempt svc_generation says."""

from typing import Final

import structlog
from prometheus_client import Counter

from gpu_worker.models.files import ModelFilesError, ModelUnusableError
from gpu_worker.render.interface import InvalidOutputError, LoraMismatchError, OutOfMemoryError, RenderError
from svc_common.errors import Reason

_MESSAGE_LENGTH: Final = 500
"""What a report may say; names in a LoRA's file can be of any length."""
_log = structlog.get_logger(__name__)
_FIXED_WORDS: Final = (
    (OutOfMemoryError, Reason.OUT_OF_MEMORY, "The picture didn't fit into the GPU's memory. Ask for a smaller one."),
    (InvalidOutputError, Reason.INVALID_OUTPUT, "The model produced no usable picture. Try another seed or scheduler."),
    (ModelFilesError, Reason.MODEL_LOAD_FAILED, "The model couldn't be loaded. Try another model."),
)
MODEL_FAULTS: Final = Counter("model_faults_total", "Jobs that failed because of their model's files.", ("model_id",))


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


class NoRoomError(Exception):
    """A store, or the models' folder, has had no room for too long: the job goes back, and the attempt isn't counted."""


def failure_of(error: Exception) -> AttemptFailedError:
    """Tells a person what went wrong in a render; a trace is for the log alone, and for what nobody foresaw."""
    if isinstance(error, ModelUnusableError):
        return _unusable(error)
    is_known = isinstance(error, RenderError | ModelFilesError)
    _log.warning("job.render_failed", error=repr(error), exc_info=None if is_known else error)
    for kind, reason, message in _FIXED_WORDS:
        if isinstance(error, kind):
            return AttemptFailedError(reason, message)
    if isinstance(error, LoraMismatchError):
        return AttemptFailedError(Reason.LORA_INCOMPATIBLE, f"The picture couldn't be made: {error}."[:_MESSAGE_LENGTH])
    if isinstance(error, RenderError):
        return AttemptFailedError(Reason.PIPELINE_FAILED, f"The picture couldn't be made: {error}.")
    return AttemptFailedError(
        Reason.PIPELINE_FAILED, "The pipeline failed. Try other parameters; if it stays so, report the job."
    )


def _unusable(error: ModelUnusableError) -> AttemptFailedError:
    MODEL_FAULTS.labels(error.model_id).inc()
    # With the trace: what a library says of a model is often clear from where it says it only.
    _log.error("model.unusable", model_id=error.model_id, problem=error.problem, exc_info=error)
    return AttemptFailedError(
        Reason.MODEL_UNUSABLE,
        f"The model {error.model_id} can't draw: its files are faulty, and no parameters change that. Choose another model; the"
        " operator of this deployment has to correct this one.",
    )
