"""Rendering with diffusers: one code path for every family and operation.

Owns the order of a job in the render thread (refuse what can't be done, get the model, its LoRAs and the prompt's
embeddings, render) and what happens when memory runs out. Leaves the render itself to `render_run`, what differs
between models to `families`, residency to `residency`, and bytes to `encode`.

`DiffusersPipeline.render` is called from one dedicated thread, never from the event loop: a step blocks for as long as
it takes.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import torch
from diffusers.utils import logging as diffusers_logging
from pingvas.vocabulary import Operation
from transformers.utils import logging as transformers_logging

from gpu_worker.models.files import ModelSpec, ModelUnusableError
from gpu_worker.render.compilation import compile_blocks, keep_compiled_in, rehearse
from gpu_worker.render.families import family_named
from gpu_worker.render.families.embedding_cache import EmbeddingCache, Embeddings
from gpu_worker.render.families.family import DrawingFamily, Family
from gpu_worker.render.families.loras import TextLoras, refuse_foreign_loras
from gpu_worker.render.families.memory import OutOfMemorySuppressed, low_memory
from gpu_worker.render.families.upscalers import DiffusionUpscaler
from gpu_worker.render.interface import (
    OutOfMemoryError,
    PipelineSettings,
    RenderCancelledError,
    RenderResult,
    RenderSpec,
    StepReport,
    UnsupportedRequestError,
)
from gpu_worker.render.loaded_model import HostModel, LoadedModel, is_of_the_machine, load_model, place_model
from gpu_worker.render.residency import Residency
from gpu_worker.render.run import RenderRun, device_label

# The rest of a GPU's memory is for activations and fragmentation; a CPU's is shared with the whole machine.
_RESIDENT_SHARE_OF_GPU: Final = 0.7
_RESIDENT_BYTES_OF_CPU: Final = 4 * 2**30
# Copies in host memory save reading a disk; the page cache, the services beside and the loading itself need the rest.
_PINNED_SHARE_OF_HOST: Final = 0.4
# Some 30 prompts of the largest text encoder, T5 (512 tokens of 4,096 numbers in half precision).
_EMBEDDING_BYTES: Final = 128 * 2**20
_TRIAL_STEPS: Final = 2


class DiffusersPipeline:
    """Renders specs with diffusers on one device, keeping models loaded between them."""

    def __init__(self, settings: PipelineSettings, clock: Callable[[], float] = time.perf_counter) -> None:
        """Chooses the device; loads nothing yet. The clock is in seconds."""
        self._settings = settings
        if settings.compile_backend is not None:
            keep_compiled_in(settings.models_dir)
        self._clock = clock
        self._device = _device_named(settings.device)
        self._embeddings = EmbeddingCache(_EMBEDDING_BYTES)
        self._models: Residency[HostModel, LoadedModel] = Residency(
            self._load,
            self._place,
            device_budget_bytes=settings.resident_bytes or _default_budget_bytes(self._device),
            host_budget_bytes=_default_host_bytes(),
            shared_memory=self._device.type == "cpu",
        )

    @property
    def loaded_models(self) -> frozenset[str]:
        """Ids of the models that start without loading; safe to read from any thread."""
        return self._models.loaded_models

    def prefetch(self, model: ModelSpec) -> None:
        """Loads a model into host memory for a job to come, from any thread; raises as `render` does for its files."""
        self._models.prefetch(model)

    def render(
        self, spec: RenderSpec, on_step: Callable[[StepReport], None], should_stop: Callable[[], bool]
    ) -> RenderResult:
        """Renders the images of a spec one after the other; see `rendering.Pipeline` for arguments and errors.

        One after the other and not as a batch, so that image i is the same picture as a job of one with its seed. When
        memory runs out the job begins again with less of it, so steps are reported from 1 a second time.
        """
        if should_stop():
            raise RenderCancelledError(gpu_seconds=0.0, completed_steps=0)
        _refuse_unsupported(family_named(spec.model.family), spec)
        with self._prepared_thread():
            with OutOfMemorySuppressed():
                return self._rendered(spec, on_step, should_stop, sparing=False)
            # Only here, after the context, are the failed run's frames gone and their tensors with them.
            self._release_device()
            with OutOfMemorySuppressed():
                return self._rendered(spec, on_step, should_stop, sparing=True)
            self._models.clear()
            self._release_device()
        raise OutOfMemoryError("the picture did not fit into the device's memory")

    def _rendered(
        self,
        spec: RenderSpec,
        on_step: Callable[[StepReport], None],
        should_stop: Callable[[], bool],
        *,
        sparing: bool,
    ) -> RenderResult:
        model = self._models.get(spec.model)
        if spec.operation not in model.operations:
            possible = ", ".join(sorted(model.operations)) or "nothing"
            raise ModelUnusableError(
                spec.model.model_id, f"the inputs of its denoiser are for {possible}, and not for {spec.operation}"
            )
        try:
            result = self._run(model, spec, on_step, should_stop, sparing=sparing)
        except RenderCancelledError:
            raise
        except Exception as error:
            if spec.operation not in model.proven and not is_of_the_machine(error):
                self._refuse_unusable(model, spec, should_stop, sparing=sparing)
            raise
        model.proven.add(spec.operation)
        return result

    def _refuse_unusable(
        self, model: LoadedModel, spec: RenderSpec, should_stop: Callable[[], bool], *, sparing: bool
    ) -> None:
        """Raises ModelUnusableError when a model that has failed can't make the plainest picture of the same size either."""
        plain = replace(
            spec,
            prompt="",
            negative_prompt="",
            step_count=min(spec.step_count, _TRIAL_STEPS),
            guidance_scale=1.0,
            seed=0,
            image_count=1,
            scheduler=model.family.schedulers[0],
            loras=(),
            strength=1.0,
        )
        try:
            self._run(model, plain, lambda _: None, should_stop, sparing=sparing)
        except RenderCancelledError:
            raise
        except Exception as error:
            if is_of_the_machine(error):
                raise
            raise ModelUnusableError(spec.model.model_id, f"it draws nothing valid: {error}") from error
        model.proven.add(spec.operation)

    def _run(
        self,
        model: LoadedModel,
        spec: RenderSpec,
        on_step: Callable[[StepReport], None],
        should_stop: Callable[[], bool],
        *,
        sparing: bool,
    ) -> RenderResult:
        model.family.reset(model.pipe, model.dtype)
        self._make_room(model, spec)
        text_loras = model.adapters.apply(spec.loras) if model.family.has_loras else ()
        with torch.inference_mode(), low_memory(model.pipe) if sparing else contextlib.nullcontext():
            run = RenderRun(
                model=model,
                spec=spec,
                embeddings=lambda: self._encoded(model, spec, text_loras),
                device=self._device,
                device_name=self._device_name(model),
                clock=self._clock,
                on_step=on_step,
                should_stop=should_stop,
            )
            return run.result()

    def _encoded(self, model: LoadedModel, spec: RenderSpec, text_loras: TextLoras) -> Embeddings:
        guided = model.family.guided(spec)
        negative_prompt = spec.negative_prompt if guided else ""
        key = (spec.model.model_id, spec.model.revision, text_loras, spec.prompt, negative_prompt, guided)
        return self._embeddings.get(key, lambda: model.family.encode(model.pipe, spec))

    def _load(self, spec: ModelSpec) -> HostModel:
        return load_model(spec, self._settings.models_dir, self._device)

    def _place(self, host: HostModel) -> LoadedModel:
        model = place_model(host, self._device, self._settings.models_dir, self._models.loading_lock)
        if (backend := self._compile_backend(host.family)) is not None:
            compile_blocks(model.pipe, backend)
            if Operation.TEXT_TO_IMAGE in model.operations:
                with torch.inference_mode():
                    rehearse(model, host.spec)
        return model

    def _compile_backend(self, family: Family) -> str | None:
        return self._settings.compile_backend if isinstance(family, DrawingFamily) else None

    def _device_name(self, model: LoadedModel) -> str:
        """Returns what recipes call the device: compiled kernels round differently."""
        return device_label(self._device) + (", compiled" if self._compile_backend(model.family) else "")

    def _make_room(self, model: LoadedModel, spec: RenderSpec) -> None:
        # Torch's cache holds on to what earlier sizes of pictures took, in pieces that may not fit this one.
        if self._device.type == "cuda":
            needed_bytes = model.family.activation_bytes(model.pipe, spec.width_px, spec.height_px)
            if torch.cuda.mem_get_info(self._device)[0] < needed_bytes:
                torch.cuda.empty_cache()

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

    def _release_device(self) -> None:
        # Every model goes: what is left of the device's memory is not known, and the next try must find it whole.
        self._models.release_device()
        self._embeddings.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def create(settings: PipelineSettings) -> DiffusersPipeline:
    """Returns the worker's default pipeline."""
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    # Algorithms chosen by racing them differ from run to run, and with them the last bits of the pixels.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    return DiffusersPipeline(settings)


def _refuse_unsupported(family: Family, spec: RenderSpec) -> None:
    name, operation = spec.model.family, spec.operation
    if operation not in family.operations:
        raise UnsupportedRequestError(f"models of the family {name} do not have the operation {operation}")
    samples = operation is not Operation.UPSCALE or isinstance(family, DiffusionUpscaler)
    if samples and spec.scheduler not in family.schedulers:
        raise UnsupportedRequestError(f"models of the family {name} cannot use the scheduler {spec.scheduler!r}")
    if operation is not Operation.TEXT_TO_IMAGE and spec.source is None:
        raise UnsupportedRequestError(f"{operation} needs a picture to begin with")
    if operation is Operation.INPAINT and spec.mask is None:
        raise UnsupportedRequestError("inpaint needs a mask")
    if not family.has_loras or operation is not Operation.UPSCALE:
        refuse_foreign_loras(spec.loras, name, has_loras=family.has_loras)


def _device_named(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def _default_budget_bytes(device: torch.device) -> int:
    if device.type != "cuda":
        return _RESIDENT_BYTES_OF_CPU
    return int(torch.cuda.get_device_properties(device).total_memory * _RESIDENT_SHARE_OF_GPU)


def _default_host_bytes() -> int:
    return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * _PINNED_SHARE_OF_HOST)
