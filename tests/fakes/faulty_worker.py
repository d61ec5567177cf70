"""A worker that meets an accident at a moment that a test has armed: it is killed, frozen, or loses an answer.

Chosen with PIPELINE=tests.fakes.faulty_worker:create, and FAULTS_DIR for the folder through which test and workers speak.
It draws as `tests.fakes.pipeline` does. An armed moment is a file named after it; the first worker that comes by takes
the file away, so each accident happens once, whatever the number of workers and of their lives.

The moments around the RPCs are found at the channel through which every stub of a worker speaks. The product's code knows
nothing of it.
"""

import os
import signal
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from gpu_worker.models.files import ModelSpec
from gpu_worker.render.interface import Pipeline, PipelineSettings, RenderResult, RenderSpec, StepReport
from svc_common.clients import ServiceChannel
from svc_common.errors import dependency_unavailable
from tests.fakes import pipeline as fake

FAULTS_DIR_VARIABLE: Final = "FAULTS_DIR"
_START, _COMPLETE = "/StartAttempt", "/CompleteAttempt"


class Moment(StrEnum):
    """When an accident happens."""

    CLAIMED = "claimed"
    """The queue has leased the job to the worker; svc_generation hasn't heard of it."""
    STARTED = "started"
    """svc_generation has begun the attempt; the worker doesn't know yet."""
    DENOISING = "denoising"
    """The middle step has ended."""
    UPLOADED = "uploaded"
    """Every object is in the store; the report isn't sent."""
    REPORTED = "reported"
    """svc_generation has answered the report; the worker doesn't know yet."""


class Accident(StrEnum):
    """What happens."""

    KILL = "kill"
    """The process vanishes, as when the machine does."""
    FREEZE = "freeze"
    """The process stands still until somebody sends SIGCONT."""
    LOSE_ANSWER = "lose answer"
    """The call was executed and its answer is lost."""


class Faults:
    """The folder of armed accidents."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def arm(self, moment: Moment, accident: Accident) -> None:
        """Lets the next worker that comes to the moment have the accident."""
        self._happened(moment).unlink(missing_ok=True)
        self._armed(moment).write_text(accident)

    def has_happened(self, moment: Moment) -> bool:
        """Tells whether the accident that was armed last for the moment has happened."""
        return self._happened(moment).exists()

    def come_by(self, moment: Moment) -> None:
        """Has the accident of the moment, if one is armed. Called in the worker."""
        try:
            self._armed(moment).rename(self._happened(moment))
        except FileNotFoundError:
            return
        match Accident(self._happened(moment).read_text()):
            case Accident.KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            case Accident.FREEZE:
                os.kill(os.getpid(), signal.SIGSTOP)
            case Accident.LOSE_ANSWER:
                raise dependency_unavailable("svc_generation", "The answer was lost on its way.")

    def _armed(self, moment: Moment) -> Path:
        return self._folder / moment

    def _happened(self, moment: Moment) -> Path:
        return self._folder / f"{moment}.happened"


class FaultyPipeline:
    """Draws as the fake does, and comes by the moments of a render."""

    def __init__(self, inner: Pipeline, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults

    @property
    def loaded_models(self) -> frozenset[str]:
        """The inner pipeline's."""
        return self._inner.loaded_models

    def prefetch(self, model: ModelSpec) -> None:
        """Prefetches as the inner pipeline does."""
        self._inner.prefetch(model)

    def render(
        self, spec: RenderSpec, on_step: Callable[[StepReport], None], should_stop: Callable[[], bool]
    ) -> RenderResult:
        """Renders as the protocol says."""

        def report_step(report: StepReport) -> None:
            on_step(report)
            if spec.prompt and report.step == (report.step_count + 1) // 2:
                self._faults.come_by(Moment.DENOISING)

        return self._inner.render(spec, report_step, should_stop)


def create(settings: PipelineSettings) -> FaultyPipeline:
    """Returns the pipeline, and lets every channel that is opened from now on come by the moments of its calls."""
    faults = Faults(Path(os.environ[FAULTS_DIR_VARIABLE]))
    _accompany_calls(faults)
    return FaultyPipeline(fake.create(settings), faults)


def _accompany_calls(faults: Faults) -> None:
    plain = ServiceChannel.unary_unary

    def unary_unary(channel: ServiceChannel, method: str, *args: Any, **kwargs: Any) -> Any:
        send = plain(channel, method, *args, **kwargs)

        async def call(request: Any, **options: Any) -> Any:
            if method.endswith(_START):
                faults.come_by(Moment.CLAIMED)
            if method.endswith(_COMPLETE):
                faults.come_by(Moment.UPLOADED)
            answer = await send(request, **options)
            if method.endswith(_START):
                faults.come_by(Moment.STARTED)
            if method.endswith(_COMPLETE):
                faults.come_by(Moment.REPORTED)
            return answer

        return call

    ServiceChannel.unary_unary = unary_unary  # type: ignore[method-assign]
