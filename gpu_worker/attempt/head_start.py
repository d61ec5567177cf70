"""The render that a claim begins with, while svc_generation is still recording the attempt.

To start an attempt takes a call and two statements, and the GPU would wait for them. The queue's record of a job tells as
well what is to be made, though it is a hint as all there is in Redis. So the render begins on the record's word, and nothing
of it leaves the worker before the attempt is there and asks for the same; if it asks for anything else, or there is none,
the render ends at its next step.

Only a job's first claim gets a head start. A job that kills its worker may do so before its attempt is recorded, and what
isn't counted would never end.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pingvas.generation.v1 import job_pb2
from pingvas.models.v1 import model_pb2
from pingvas.worker.v1 import worker_service_pb2

from gpu_worker.attempt.delivery import Pictures
from gpu_worker.attempt.messages import render_spec
from gpu_worker.attempt.reporter import ProgressReporter
from svc_common.queue import Claim

_OPERATION: Final = "text_to_image"
"""The others begin with pictures, whose addresses come with the attempt."""


@dataclass(frozen=True, slots=True)
class HeadStart:
    """A render that is under way for an attempt which is expected."""

    expected: worker_service_pb2.Attempt
    reporter: ProgressReporter
    """Keeps its reports until it is told the attempt."""
    making: asyncio.Task[Pictures]

    def is_for(self, attempt: worker_service_pb2.Attempt) -> bool:
        """Tells whether the render makes what the attempt asks for, to the pixel."""
        return render_spec(attempt) == render_spec(self.expected)

    async def give_up(self) -> None:
        """Ends the render at its next step, if it hasn't ended, and forgets what it made."""
        self.making.cancel()
        await asyncio.gather(self.making, return_exceptions=True)


def expected_attempt(claim: Claim, models: Mapping[str, model_pb2.ModelSpec]) -> worker_service_pb2.Attempt | None:
    """Returns the attempt that a claim will most likely lead to, without number and slots, or None for no head start.

    `models` are those by id of which it is known what they are, as an earlier attempt described them.
    """
    job = claim.job
    if not claim.is_first or job.operation_kind != _OPERATION:
        return None
    operation = job_pb2.TextToImage.FromString(job.operation)
    model_ids = (operation.model_id, *(lora.model_id for lora in operation.loras))
    if not models.keys() >= set(model_ids):
        return None
    model, *loras = (models[model_id] for model_id in model_ids)
    return worker_service_pb2.Attempt(
        job_id=str(job.job_id), account_id=str(job.account_id), model=model, loras=loras, text_to_image=operation
    )
