"""One render on a loaded model: image after image, step after step.

Owns seeds, progress with previews, cancellation at each step or tile, the measure of device time, and the refusal of
broken pictures. Leaves what differs between models to `families`, and memory that ran out to `pipeline`.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

import numpy as np
import torch
from pingvas.vocabulary import Operation

from gpu_worker.render.families import sources
from gpu_worker.render.families.embedding_cache import Embeddings
from gpu_worker.render.families.family import DrawingFamily, prepared_mask, prepared_source, steps_that_run
from gpu_worker.render.families.schedulers import make_scheduler
from gpu_worker.render.families.upscalers import DiffusionUpscaler
from gpu_worker.render.interface import (
    InvalidOutputError,
    Pixels,
    RenderCancelledError,
    RenderedImage,
    RenderResult,
    RenderSpec,
    StepReport,
    UnsupportedRequestError,
    image_seed,
)
from gpu_worker.render.loaded_model import LoadedModel
from gpu_worker.render.progress import RenderProgress
from gpu_worker.render.seeding import noise_generator

LIBRARY_VERSIONS: Final = tuple((name, version(name)) for name in ("diffusers", "torch", "transformers"))


class RenderRun:
    """One render: its progress, its clock, and the callbacks of diffusers."""

    def __init__(
        self,
        *,
        model: LoadedModel,
        spec: RenderSpec,
        embeddings: Callable[[], Embeddings],
        device: torch.device,
        device_name: str,
        clock: Callable[[], float],
        on_step: Callable[[StepReport], None],
        should_stop: Callable[[], bool],
    ) -> None:
        """Begins to measure; `embeddings` encodes the spec's prompts or has them already, the clock is in seconds.

        `device_name` is what recipes call the device.
        """
        self._model = model
        self._spec = spec
        self._embeddings = embeddings
        self._device = device
        self._device_name = device_name
        self._clock = clock
        self._on_step = on_step
        self._should_stop = should_stop
        self._started_s = self._now_s()
        self._progress = RenderProgress(
            step_count=steps_that_run(spec), image_count=spec.image_count, clock=self._now_s
        )
        self._image_index = 0

    def result(self) -> RenderResult:
        """Renders every image; see `rendering.Pipeline.render` for what it raises."""
        draw = self._method()
        images = tuple(self._image(index, draw) for index in range(self._spec.image_count))
        return RenderResult(
            images,
            self._gpu_seconds(),
            self._device_name,
            LIBRARY_VERSIONS,
            loras=self._model.adapters.coverage(self._spec.loras),
        )

    def _method(self) -> Callable[[int], Pixels]:
        """Returns what makes the picture of a seed."""
        family = self._model.family
        if self._spec.operation is not Operation.UPSCALE:
            return self._drawing(family)
        if isinstance(family, DiffusionUpscaler):
            return self._denoising_upscaler(family)
        return self._upscaled_by_network

    def _image(self, index: int, draw: Callable[[int], Pixels]) -> RenderedImage:
        self._image_index = index
        seed = image_seed(self._spec.seed, index)
        pixels = draw(seed)
        self._progress.image_done()
        return RenderedImage(index, seed, pixels)

    def _drawing(self, family: Any) -> Callable[[int], Pixels]:
        assert isinstance(family, DrawingFamily)  # noqa: S101 - for mypy: others only upscale, which pipeline checked
        spec, pipe = self._spec, self._model.pipe_for(self._spec.operation)
        arguments = {**family.arguments(spec), **self._embeddings()}
        source = None if spec.operation is Operation.TEXT_TO_IMAGE else prepared_source(spec)
        mask = prepared_mask(spec) if spec.operation is Operation.INPAINT else None

        def draw(seed: int) -> Pixels:
            pixels = self._run(
                pipe,
                arguments,
                generator=noise_generator(seed),
                callback_on_step_end=self._after_step,
                callback_on_step_end_tensor_inputs=["latents"],
            )[: spec.height_px, : spec.width_px]
            _refuse_black(pixels, source)
            if source is not None and mask is not None:
                return sources.composite(pixels, source, mask)
            return np.ascontiguousarray(pixels)

        return draw

    def _denoising_upscaler(self, family: DiffusionUpscaler) -> Callable[[int], Pixels]:
        source, embeddings, pipe = self._source(), self._embeddings(), self._model.pipe
        self._progress.expect(family.step_count(self._spec, source))

        def denoise(arguments: dict[str, Any]) -> Pixels:
            noise = arguments["latents"].to(self._device, self._model.dtype)
            return self._run(pipe, {**arguments, **embeddings, "latents": noise}, callback=self._after_tile_step)

        def draw(seed: int) -> Pixels:
            pixels = family.upscale(self._spec, source, seed, denoise)
            _refuse_black(pixels, source)
            return pixels

        return draw

    def _upscaled_by_network(self, _seed: int) -> Pixels:
        network = self._model.super_resolution
        if network is None:
            raise UnsupportedRequestError(f"the model {self._spec.model.model_id} has no part that upscales")
        return network.upscale(self._source(), self._spec.scale_factor, on_tile=self._after_tile)

    def _run(self, pipe: Any, arguments: dict[str, Any], **callbacks: Any) -> Pixels:
        pipe.scheduler = make_scheduler(self._spec.scheduler, self._model.scheduler_config, self._spec.step_count)
        return _pixels(pipe(**arguments, **callbacks, output_type="pt").images[0])

    def _source(self) -> Pixels:
        if self._spec.source is None:
            raise UnsupportedRequestError(f"{self._spec.operation} needs a source")
        return self._spec.source

    def _after_step(
        self, _pipe: Any, _step: int, _timestep: Any, tensors: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        self._count_step()
        self._report(self._preview(tensors["latents"]) if self._progress.preview_due() else None)
        return {}

    def _after_tile_step(self, _step: int, _timestep: Any, latents: torch.Tensor) -> None:
        _refuse_infinite(latents)
        self._after_tile(0, 0)

    def _after_tile(self, _done: int, tile_count: int) -> None:
        if tile_count:
            self._progress.expect(tile_count)
        self._count_step()
        self._report(None)

    def _count_step(self) -> None:
        self._progress.step_done()
        if self._should_stop():
            raise RenderCancelledError(gpu_seconds=self._gpu_seconds(), completed_steps=self._progress.completed_steps)

    def _report(self, preview: Pixels | None) -> None:
        self._on_step(
            StepReport(
                image_index=self._image_index,
                step=self._progress.completed_steps,
                step_count=self._progress.step_count,
                seconds_left=self._progress.seconds_left(),
                preview=preview,
            )
        )

    def _preview(self, latents: torch.Tensor) -> Pixels | None:
        # Looked at here because the last step of an image always has a preview: an infinity would be clipped to white
        # when the picture is decoded, and a model that broke early need not run to its end.
        _refuse_infinite(latents)
        family, latent_rgb = self._model.family, self._model.latent_rgb
        if latent_rgb is None or not isinstance(family, DrawingFamily):
            return None
        return latent_rgb.pixels(family.latent_grid(self._model.pipe, latents, self._spec))

    def _gpu_seconds(self) -> float:
        return self._now_s() - self._started_s

    def _now_s(self) -> float:
        # Kernels are only queued when a call returns. Waiting for them makes times true, and keeps a cancellation from
        # coming after all the steps were queued already.
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return self._clock()


def device_label(device: torch.device) -> str:
    """Returns the name of a device as recipes have it: the same name should mean the same pixels."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _pixels(picture: torch.Tensor) -> Pixels:
    """Returns a decoded picture (3, height, width) from 0 to 1 as bytes; raises InvalidOutputError for a broken one."""
    if not torch.isfinite(picture).all():
        raise InvalidOutputError("the decoder produced numbers that are not finite")
    pixels: Pixels = picture.float().permute(1, 2, 0).mul(255).round().to(torch.uint8).cpu().numpy()
    return np.ascontiguousarray(pixels)


def _refuse_infinite(latents: torch.Tensor) -> None:
    if not torch.isfinite(latents).all():
        raise InvalidOutputError("the model produced numbers that are not finite")


def _refuse_black(pixels: Pixels, source: Pixels | None) -> None:
    # A broken half-precision decoder gives black. What was made of a black picture may be black with good reason.
    if not pixels.any() and (source is None or source.any()):
        raise InvalidOutputError("the picture is black everywhere")
