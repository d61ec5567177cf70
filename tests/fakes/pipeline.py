"""A pipeline that draws with numpy, at the speed and with the accidents that a test asks for.

Chosen with PIPELINE=tests.fakes.pipeline:create. The same seed and prompt draw the same picture. Accidents are markers
in the prompt, which no real pipeline knows:

    [[raise]]      raises at the middle step an error that nobody expected
    [[oom]]        reports that the device's memory did not suffice, at the middle step
    [[nan]]        reports broken output, after the last step
    [[kill]]       kills its own process with SIGKILL at the middle step; [[kill=3]] at step 3
    [[slow=0.5]]   takes 0.5 s for each step

The operations that begin with a picture do the least that shows them: image-to-image takes the source's pixels for the
share that strength leaves of it, inpainting draws where the mask is white, and upscaling repeats pixels.
"""

import hashlib
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pingvas.vocabulary import Operation

from gpu_worker.models.files import ModelSpec, verify_files
from gpu_worker.render.interface import (
    InvalidOutputError,
    OutOfMemoryError,
    PipelineSettings,
    Pixels,
    RenderCancelledError,
    RenderedImage,
    RenderResult,
    RenderSpec,
    StepReport,
    image_seed,
)
from gpu_worker.render.progress import RenderProgress

STEP_SECONDS_VARIABLE = "FAKE_PIPELINE_STEP_SECONDS"
_DEFAULT_STEP_SECONDS = 0.02
_MARKER = re.compile(r"\[\[(?P<name>[a-z]+)(?:=(?P<value>[0-9.]+))?\]\]")
_PREVIEW_STRIDE = 8


@dataclass(frozen=True, slots=True)
class _Accidents:
    """What the markers of a prompt ask for."""

    values: dict[str, str | None]

    @classmethod
    def of(cls, prompt: str) -> Self:
        return cls({match["name"]: match["value"] for match in _MARKER.finditer(prompt)})

    def step_seconds(self, default: float) -> float:
        return float(self.values.get("slow") or default)

    def happen(self, step: int, step_count: int) -> None:
        """Does what is due at a step, counted from 1 over all images."""
        middle = (step_count + 1) // 2
        if "kill" in self.values and step == int(self.values["kill"] or middle):
            os.kill(os.getpid(), signal.SIGKILL)
        if "raise" in self.values and step == middle:
            raise ZeroDivisionError("an accident asked for by the prompt")
        if "oom" in self.values and step == middle:
            raise OutOfMemoryError("the picture did not fit into the device's memory")
        if "nan" in self.values and step == step_count:
            raise InvalidOutputError("the model produced numbers that are not finite")


class FakePipeline:
    """Takes its time for each step, then draws a disc on a ground, in colours that prompt and seed decide."""

    def __init__(self, step_seconds: float, models_dir: Path | None = None) -> None:
        """Makes a pipeline whose steps take step_seconds each, and that checks a model's files if it is told where."""
        self._step_seconds = step_seconds
        self._models_dir = models_dir
        self._loaded_models: frozenset[str] = frozenset()
        self.prefetched: list[str] = []
        """Ids of the models that were prefetched, in order."""

    @property
    def loaded_models(self) -> frozenset[str]:
        """The model of the last render, as on a device with room for one."""
        return self._loaded_models

    def prefetch(self, model: ModelSpec) -> None:
        """Remembers that it was asked."""
        self._check_files(model)
        self.prefetched.append(model.model_id)

    def render(
        self, spec: RenderSpec, on_step: Callable[[StepReport], None], should_stop: Callable[[], bool]
    ) -> RenderResult:
        """Renders as the protocol says."""
        for model in (spec.model, *(use.model for use in spec.loras)):
            self._check_files(model)
        accidents = _Accidents.of(spec.prompt)
        step_seconds = accidents.step_seconds(self._step_seconds)
        self._loaded_models = frozenset({spec.model.model_id})
        started_s = time.perf_counter()
        progress = RenderProgress(step_count=spec.step_count, image_count=spec.image_count, clock=time.perf_counter)
        if should_stop():
            raise RenderCancelledError(gpu_seconds=0.0, completed_steps=0)
        images = []
        for index in range(spec.image_count):
            pixels = drawing(spec, index)
            for _ in range(spec.step_count):
                time.sleep(step_seconds)
                progress.step_done()
                if should_stop():
                    raise RenderCancelledError(
                        gpu_seconds=time.perf_counter() - started_s, completed_steps=progress.completed_steps
                    )
                accidents.happen(progress.completed_steps, progress.step_count)
                on_step(_report(index, progress, pixels))
            progress.image_done()
            images.append(RenderedImage(index, image_seed(spec.seed, index), pixels))
        return RenderResult(tuple(images), time.perf_counter() - started_s, "fake", (("numpy", np.__version__),))

    def _check_files(self, model: ModelSpec) -> None:
        if self._models_dir is not None:
            verify_files(model.folder(self._models_dir), model.files)


def create(_settings: PipelineSettings) -> FakePipeline:
    """Returns a fake whose step time is the environment's FAKE_PIPELINE_STEP_SECONDS."""
    return FakePipeline(float(os.environ.get(STEP_SECONDS_VARIABLE, _DEFAULT_STEP_SECONDS)))


def _report(index: int, progress: RenderProgress, pixels: Pixels) -> StepReport:
    preview = pixels[::_PREVIEW_STRIDE, ::_PREVIEW_STRIDE].copy() if progress.preview_due() else None
    return StepReport(index, progress.completed_steps, progress.step_count, progress.seconds_left(), preview)


def drawing(spec: RenderSpec, index: int) -> Pixels:
    """Returns what the fake draws for one image of a spec."""
    match spec.operation:
        case Operation.TEXT_TO_IMAGE:
            return _disc(spec, index)
        case Operation.IMAGE_TO_IMAGE:
            kept = _fitted(spec.source, spec) * (1 - spec.strength)
            return (kept + _disc(spec, index) * spec.strength).astype(np.uint8)
        case Operation.INPAINT:
            repainted = _fitted(spec.mask, spec)[..., None] > 127
            return np.where(repainted, _disc(spec, index), _fitted(spec.source, spec))
        case Operation.UPSCALE:
            assert spec.source is not None
            return spec.source.repeat(spec.scale_factor, axis=0).repeat(spec.scale_factor, axis=1)


def _fitted(pixels: NDArray[np.uint8] | None, spec: RenderSpec) -> NDArray[np.uint8]:
    assert pixels is not None
    return np.asarray(ImageOps.fit(Image.fromarray(pixels), (spec.width_px, spec.height_px)))


def _disc(spec: RenderSpec, index: int) -> Pixels:
    identity = f"{image_seed(spec.seed, index)}/{spec.prompt}/{spec.negative_prompt}/{spec.step_count}"
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(identity.encode()).digest()))
    ground, disc = random.integers(32, 256, size=(2, 3), dtype=np.uint8)
    x, y, radius = random.uniform(0.2, 0.8), random.uniform(0.2, 0.8), random.uniform(0.1, 0.3)
    rows, columns = np.mgrid[0 : spec.height_px, 0 : spec.width_px]
    inside = (columns / spec.width_px - x) ** 2 + (rows / spec.height_px - y) ** 2 < radius**2
    pixels: Pixels = np.where(inside[..., None], disc, ground).astype(np.uint8)
    return pixels
