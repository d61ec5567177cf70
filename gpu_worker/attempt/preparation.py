"""What comes before a render: the prompt is allowed, the inputs are fetched and decoded, the models' files are there.

Everything that can refuse a job comes before everything that costs much. Leaves the render to `execution`.
"""

from dataclasses import dataclass, replace

from pingvas.vocabulary import Operation
from pingvas.worker.v1 import worker_service_pb2

from gpu_worker.attempt.failures import AttemptFailedError, NoRoomError, failure_of
from gpu_worker.attempt.input_fetch import InputFetcher
from gpu_worker.attempt.insisting import insist
from gpu_worker.attempt.messages import render_spec
from gpu_worker.attempt.model_fetch import ModelStore, NoRoomForModelError
from gpu_worker.attempt.reporter import ProgressReporter
from gpu_worker.attempt.safety import SafetyHook
from gpu_worker.claim.lease import Lease
from gpu_worker.models.files import ModelFilesError, ModelSpec
from gpu_worker.pictures.inputs import Inputs
from gpu_worker.render.interface import RenderSpec
from svc_common.errors import Reason


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """What is to be rendered, with all that it needs."""

    spec: RenderSpec
    inputs: Inputs


class Preparer:
    """Prepares attempts."""

    def __init__(self, *, safety: SafetyHook, inputs: InputFetcher, store: ModelStore) -> None:
        """Takes the parts."""
        self._safety = safety
        self._inputs = inputs
        self._store = store

    async def prepare(
        self, attempt: worker_service_pb2.Attempt, reporter: ProgressReporter, lease: Lease
    ) -> PreparedJob:
        """Prepares an attempt.

        Raises:
            AttemptFailedError: the prompt is refused, an input can't be used, or a model can't be had.
            LeaseLostError: the lease was lost while svc_models was away.
            NoRoomError: the models' folder has no room for a model.
        """
        spec = render_spec(attempt)
        if (refusal := await self._safety.check_prompt(spec)) is not None:
            raise AttemptFailedError(Reason.CONTENT_REJECTED, refusal.message)
        inputs = await self._inputs.fetch(attempt.source_url, attempt.mask_url)
        for model in models_of(spec):
            await self._ensure(model, reporter, lease)
        return PreparedJob(_with_inputs(spec, inputs), inputs)

    async def repair(self, spec: RenderSpec, reporter: ProgressReporter, lease: Lease) -> bool:
        """Fetches those models of a render anew whose files are damaged; tells whether there were any.

        Raises:
            AttemptFailedError: they can't be fetched.
            LeaseLostError, NoRoomError: as `prepare`.
        """
        damaged = [model for model in models_of(spec) if await self._store.quarantine(model)]
        for model in damaged:
            await self._ensure(model, reporter, lease)
        return bool(damaged)

    async def _ensure(self, model: ModelSpec, reporter: ProgressReporter, lease: Lease) -> None:
        try:
            await insist(lambda: self._store.ensure(model, reporter.tell_fetch), lease)
        except NoRoomForModelError as error:
            raise NoRoomError(str(error)) from error
        except ModelFilesError as error:
            raise failure_of(error) from error


def models_of(spec: RenderSpec) -> tuple[ModelSpec, ...]:
    """Returns the model of a render and those of its LoRAs."""
    return (spec.model, *(use.model for use in spec.loras))


def _with_inputs(spec: RenderSpec, inputs: Inputs) -> RenderSpec:
    if inputs.source is None:
        return spec
    complete = replace(spec, source=inputs.source, mask=inputs.mask)
    if spec.operation is not Operation.UPSCALE:
        return complete
    height, width, _ = inputs.source.shape
    return replace(complete, width_px=width * spec.scale_factor, height_px=height * spec.scale_factor)
