"""How far a job is, from its events."""

from dataclasses import dataclass, field
from typing import Final, Self

from pingvas.generation.v1.job_event_pb2 import JobEvent, JobStage

_STAGES: Final = {
    JobStage.JOB_STAGE_FETCHING_MODEL: "fetching the model",
    JobStage.JOB_STAGE_LOADING_MODEL: "loading the model",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of a job at a moment.

    `stage` is "waiting", "fetching the model", "loading the model", "drawing", "done", "failed" or "cancelled". While it
    waits, `position` counts the jobs
    before it and `seconds_left` estimates when it starts; while it draws, when its last step is done. `preview` is a small
    JPEG, or empty.
    """

    job_id: str
    stage: str
    percent: int = 0
    step: int = 0
    step_count: int = 0
    seconds_left: float = 0.0
    position: int = 0
    preview: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, event: JobEvent) -> Self:
        """Reads an event."""
        match event.WhichOneof("detail"):
            case "queued":
                queued = event.queued
                return cls(
                    event.job_id, "waiting", position=queued.position, seconds_left=queued.estimated_wait_seconds
                )
            case "progress":
                told = event.progress
                return cls(
                    event.job_id,
                    _STAGES.get(told.stage, "drawing"),
                    percent=told.percent,
                    step=told.step,
                    step_count=told.step_count,
                    seconds_left=told.seconds_left,
                    preview=told.preview_jpeg,
                )
            case "completed":
                return cls(event.job_id, "done", percent=100)
            case "failed" | "cancelled" as end:
                return cls(event.job_id, end)
            case _:
                return cls(event.job_id, "drawing")
