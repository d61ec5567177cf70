"""Rendering with diffusers: one code path for every family, image after image, step after step.

Owns what happens between the arguments of a diffusers pipeline and finished pixels: seeds, cancellation at each step,
progress with previews, the measure of device time, and the refusal of broken output. Leaves what differs between models
to `families`, residency to `model_cache`, and bytes to `encode`.

`DiffusersPipeline.render` is called from one dedicated thread, never from the event loop: a step blocks for as long as
it takes.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import numpy as np
import torch
from diffusers.utils import logging as diffusers_logging

from gpu_worker.families import family_named
from gpu_worker.families.latent_rgb import LatentRgb
from gpu_worker.families.schedulers import make_scheduler
from gpu_worker.families.stable_diffusion import StableDiffusion
from gpu_worker.model_cache import ModelCache
from gpu_worker.model_files import ModelSpec, verify_files
from gpu_worker.progress import RenderProgress
from gpu_worker.rendering import (
    InvalidOutputError,
    OutOfMemoryError,
    PipelineSettings,
    Pixels,
    RenderCancelledError,
    RenderedImage,
    RenderResult,
    RenderSpec,
    StepReport,
    UnsupportedRequestError,
    image_seed,
)

# The rest of a GPU's memory is for activations and fragmentation; a CPU's is shared with the whole machine.
_RESIDENT_SHARE_OF_GPU = 0.7
_RESIDENT_BYTES_OF_CPU = 4 * 2**30
LIBRARY_VERSIONS: Final = tuple((name, version(name)) for name in ("diffusers", "torch", "transformers"))


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model on its device, ready to render."""

    family: StableDiffusion
    pipe: Any
    scheduler_config: Any
    """Of the model's own scheduler, kept because each render puts another one into pipe."""
    latent_rgb: LatentRgb
    size_bytes: int


class DiffusersPipeline:
    """Renders specs with diffusers on one device, keeping models loaded between them."""

    def __init__(self, settings: PipelineSettings, clock: Callable[[], float] = time.perf_counter) -> None:
        """Chooses the device; loads nothing yet. The clock is in seconds."""
        self._settings = settings
        self._clock = clock
        self._device = _device_named(settings.device)
        budget_bytes = settings.resident_bytes or _default_budget_bytes(self._device)
        self._models = ModelCache(self._load, budget_bytes)

    @property
    def loaded_models(self) -> frozenset[str]:
        """Ids of the models that start without loading; safe to read from any thread."""
        return self._models.loaded_models

    def render(
        self, spec: RenderSpec, on_step: Callable[[StepReport], None], should_stop: Callable[[], bool]
    ) -> RenderResult:
        """Renders the images of a spec one after the other; see `rendering.Pipeline` for arguments and errors.

        One after the other and not as a batch, so that image i is the same picture as a job of one with its seed.
        """
        if should_stop():
            raise RenderCancelledError(gpu_seconds=0.0, completed_steps=0)
        with contextlib.suppress(torch.OutOfMemoryError), torch.inference_mode(), self._prepared_thread():
            return self._run(spec, on_step, should_stop).result()
        # Only here, outside of any except block, are the failed run's frames gone and their tensors with them.
        self._free_memory()
        raise OutOfMemoryError("the picture did not fit into the device's memory")

    def _run(self, spec: RenderSpec, on_step: Callable[[StepReport], None], should_stop: Callable[[], bool]) -> "_Run":
        return _Run(
            model=self._models.get(spec.model),
            spec=spec,
            device=self._device,
            clock=self._clock,
            on_step=on_step,
            should_stop=should_stop,
        )

    def _load(self, spec: ModelSpec) -> LoadedModel:
        family = family_named(spec.family)
        folder = spec.folder(self._settings.models_dir)
        verify_files(folder, spec.files)
        pipe = family.load(folder, self._device)
        return LoadedModel(family, pipe, pipe.scheduler.config, family.latent_rgb(pipe), _weights_bytes(pipe))

    @contextlib.contextmanager
    def _prepared_thread(self) -> Iterator[None]:
        # Both belong to the calling thread (the flag of the processor for denormals, the thread count of OpenMP), so
        # they are set where the work is. Denormals make a step on the CPU up to three times slower; but other code in
        # the thread may need them, so the flag is set back.
        torch.set_flush_denormal(True)
        if self._settings.torch_threads:
            torch.set_num_threads(self._settings.torch_threads)
        try:
            yield
        finally:
            torch.set_flush_denormal(False)

    def _free_memory(self) -> None:
        # Every model goes: what is left of the device's memory is not known, and the next job must find it whole.
        self._models.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


class _Run:
    """One render: its progress, its clock, and the callback that diffusers calls after each step."""

    def __init__(
        self,
        *,
        model: LoadedModel,
        spec: RenderSpec,
        device: torch.device,
        clock: Callable[[], float],
        on_step: Callable[[StepReport], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self._model = model
        self._spec = spec
        self._device = device
        self._clock = clock
        self._on_step = on_step
        self._should_stop = should_stop
        self._started_s = self._now_s()
        self._progress = RenderProgress(step_count=spec.step_count, image_count=spec.image_count, clock=self._now_s)
        self._image_index = 0

    def result(self) -> RenderResult:
        """Renders every image."""
        if self._spec.scheduler not in self._model.family.schedulers:
            raise UnsupportedRequestError(
                f"models of the family {self._spec.model.family} cannot use the scheduler {self._spec.scheduler!r}"
            )
        arguments = self._model.family.arguments(self._model.pipe, self._spec)
        images = tuple(self._image(index, arguments) for index in range(self._spec.image_count))
        return RenderResult(images, self._gpu_seconds(), _device_label(self._device), LIBRARY_VERSIONS)

    def _image(self, index: int, arguments: dict[str, Any]) -> RenderedImage:
        self._image_index = index
        seed = image_seed(self._spec.seed, index)
        pipe = self._model.pipe
        pipe.scheduler = make_scheduler(self._spec.scheduler, self._model.scheduler_config)
        output = pipe(
            **arguments,
            # On the CPU whatever the device: the same seed then starts from the same noise everywhere.
            generator=torch.Generator("cpu").manual_seed(seed),
            output_type="pt",
            callback_on_step_end=self._after_step,
            callback_on_step_end_tensor_inputs=["latents"],
        )
        pixels = _pixels(output.images[0])
        self._progress.image_done()
        return RenderedImage(index, seed, pixels)

    def _after_step(
        self,
        _pipe: Any,
        _step: int,
        _timestep: Any,
        tensors: dict[str, torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        self._progress.step_done()
        if self._should_stop():
            raise RenderCancelledError(gpu_seconds=self._gpu_seconds(), completed_steps=self._progress.completed_steps)
        preview = self._preview(tensors["latents"]) if self._progress.preview_due() else None
        self._on_step(
            StepReport(
                image_index=self._image_index,
                step=self._progress.completed_steps,
                step_count=self._progress.step_count,
                seconds_left=self._progress.seconds_left(),
                preview=preview,
            )
        )
        return {}

    def _preview(self, latents: torch.Tensor) -> Pixels:
        # Looked at here because the last step of an image always has a preview: an infinity would be clipped to white
        # when the picture is decoded, and a model that broke early need not run to its end.
        if not torch.isfinite(latents).all():
            raise InvalidOutputError("the model produced numbers that are not finite")
        return self._model.latent_rgb.pixels(latents)

    def _gpu_seconds(self) -> float:
        return self._now_s() - self._started_s

    def _now_s(self) -> float:
        # Kernels are only queued when a call returns. Waiting for them makes times true, and keeps a cancellation from
        # coming after all the steps were queued already.
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return self._clock()


def create(settings: PipelineSettings) -> DiffusersPipeline:
    """Returns the worker's default pipeline."""
    diffusers_logging.disable_progress_bar()
    # Algorithms chosen by racing them differ from run to run, and with them the last bits of the pixels.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    return DiffusersPipeline(settings)


def _pixels(picture: torch.Tensor) -> Pixels:
    """Returns a decoded picture (3, height, width) from 0 to 1 as bytes; raises InvalidOutputError for a broken one."""
    if not torch.isfinite(picture).all():
        raise InvalidOutputError("the decoder produced numbers that are not finite")
    pixels: Pixels = picture.permute(1, 2, 0).mul(255).round().to(torch.uint8).cpu().numpy()
    if not pixels.any():
        raise InvalidOutputError("the picture is black everywhere")
    return np.ascontiguousarray(pixels)


def _device_named(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def _device_label(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _default_budget_bytes(device: torch.device) -> int:
    if device.type != "cuda":
        return _RESIDENT_BYTES_OF_CPU
    return int(torch.cuda.get_device_properties(device).total_memory * _RESIDENT_SHARE_OF_GPU)


def _weights_bytes(pipe: Any) -> int:
    modules = (part for part in pipe.components.values() if isinstance(part, torch.nn.Module))
    return sum(parameter.numel() * parameter.element_size() for part in modules for parameter in part.parameters())
