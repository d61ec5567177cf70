"""Runs the pipeline: one render at a time in its own thread, watched and stopped from the event loop.

Owns what a step sets off: progress, the estimate of the end, and the claim of the next job when the last step is done. A
damaged model gets one repair. Leaves what is reported to `handler`.
"""

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Final, TypeVar

from prometheus_client import Counter, Histogram

from gpu_worker.attempt.failures import AttemptFailedError, failure_of
from gpu_worker.attempt.interruption import Interruption, TimeLeft, error_of, interruption
from gpu_worker.attempt.prefetch import Prefetcher
from gpu_worker.attempt.reporter import ProgressReporter
from gpu_worker.claim.lease import Lease
from gpu_worker.models.files import ModelFilesError
from gpu_worker.render.interface import Pipeline, RenderCancelledError, RenderResult, RenderSpec, StepReport
from gpu_worker.render.progress import PREVIEW_INTERVAL_S

R = TypeVar("R")

_RENDER_SECONDS: Final = Histogram(
    "render_seconds",
    "Time of renders in their thread, the loading of the model included.",
    ("model_id",),
    buckets=(0.25, 0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320),
)
_MODEL_LOADS: Final = Counter("model_loads_total", "Renders whose model was not on the device.", ("model_id",))

_QUICK_STEP_SECONDS: Final = 0.05
_TELL_INTERVAL_SECONDS: Final = PREVIEW_INTERVAL_S
"""Quick steps that end sooner after the last that was told of are told with the next: each time the loop is woken in
mid-render the two threads wait for each other's interpreter. Other steps, those of large pictures and models, are told
one by one."""


def _is_last(report: StepReport) -> bool:
    """Tells whether a step is the last of its render."""
    return report.step == report.step_count


class Renderer:
    """Renders specs, one after the other."""

    def __init__(self, *, pipeline: Pipeline, render_thread: Executor, prefetcher: Prefetcher) -> None:
        """Takes the parts; `render_thread` has one thread, the only one in which the pipeline renders."""
        self._pipeline = pipeline
        self._render_thread = render_thread
        self._prefetcher = prefetcher

    async def warm_up(self, spec: RenderSpec) -> None:
        """Renders once into nowhere, so that the first job of a user doesn't pay for loading."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._render_thread, self._pipeline.render, spec, lambda _: None, lambda: False)

    async def close(self) -> None:
        """Gives up what is done for jobs that haven't come yet."""
        await self._prefetcher.close()

    async def render(
        self,
        spec: RenderSpec,
        reporter: ProgressReporter,
        lease: Lease,
        *,
        repair: Callable[[], Awaitable[bool]],
        hand_over: Callable[[RenderResult], R],
    ) -> R:
        """Renders a spec; once more when `repair` has found and mended the files of its models.

        Returns what `hand_over` makes of the result. It is called in the render's thread, so that what comes next doesn't
        wait for the event loop, and must return at once.

        Raises:
            AttemptFailedError: the render failed, or was cancelled.
            LeaseLostError: the lease was lost.
            StoppingError: the worker stops before the render could be done and delivered.
        """
        try:
            return await self._render(spec, reporter, lease, hand_over)
        except ModelFilesError as error:
            if not await repair():
                raise failure_of(error) from error
        try:
            return await self._render(spec, reporter, lease, hand_over)
        except ModelFilesError as error:
            raise failure_of(error) from error

    async def _render(
        self, spec: RenderSpec, reporter: ProgressReporter, lease: Lease, hand_over: Callable[[RenderResult], R]
    ) -> R:
        if spec.model.model_id not in self._pipeline.loaded_models:
            _MODEL_LOADS.labels(spec.model.model_id).inc()
            reporter.tell_loading()
        loop = asyncio.get_running_loop()
        stop, time_left = threading.Event(), TimeLeft(loop.time)

        def after_steps(reports: Sequence[StepReport]) -> None:
            reporter.tell_steps(reports)
            time_left.note(reports[-1].seconds_left)
            if _is_last(reports[-1]):
                # The last picture is still being decoded. The next job is claimed and begun meanwhile, and its render waits
                # for the thread: a GPU that waits for a claim would lose a hundredth of its time.
                lease.release_slot()

        untold: list[StepReport] = []
        told_s = previous_s = -math.inf

        def on_step(report: StepReport) -> None:
            nonlocal told_s, previous_s
            untold.append(report)
            now_s = time.monotonic()
            is_quick = now_s - previous_s < _QUICK_STEP_SECONDS and now_s - told_s < _TELL_INTERVAL_SECONDS
            if not is_quick or report.preview is not None or _is_last(report):
                loop.call_soon_threadsafe(after_steps, tuple(untold))
                untold.clear()
                told_s = now_s
            previous_s = now_s

        def work() -> R:
            with _RENDER_SECONDS.labels(spec.model.model_id).time():
                result = self._pipeline.render(spec, on_step, stop.is_set)
            return hand_over(result)

        rendering = loop.run_in_executor(self._render_thread, work)
        rendering.add_done_callback(_look_at)
        with self._prefetcher.beside_render():
            try:
                return await self._outcome(rendering, stop, time_left, lease)
            finally:
                stop.set()

    async def _outcome(
        self, rendering: "asyncio.Future[R]", stop: threading.Event, time_left: TimeLeft, lease: Lease
    ) -> R:
        interrupting = asyncio.create_task(interruption(lease, time_left.exceeds_grace(lease)))
        either: tuple[asyncio.Future[Any], ...] = (rendering, interrupting)
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            interrupting.cancel()
        if not rendering.done():
            stop.set()
            why = interrupting.result()
            if why is Interruption.STOPPING:
                raise error_of(why)
            # It ends at its next step, and until then the GPU isn't free.
            await asyncio.wait([rendering])
            if why is Interruption.LOST:
                raise error_of(why)
        try:
            return rendering.result()
        except RenderCancelledError as cancelled:
            raise AttemptFailedError(None, gpu_seconds=cancelled.gpu_seconds) from cancelled
        except ModelFilesError:
            raise
        except Exception as error:
            # Whatever the pipeline raises ends this job and no other.
            raise failure_of(error) from error


def _look_at(rendering: "asyncio.Future[Any]") -> None:
    """Takes note of how a render has ended that nobody waits for any more, or asyncio would log it as forgotten."""
    if not rendering.cancelled():
        rendering.exception()
