"""LoRAs of a loaded model: put in by name, switched on and off for each job, the least recently used taken out.

Owns the adapters in one pipeline. Leaves the model itself to `residency`: when it leaves, its LoRAs leave with it.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch
from safetensors.torch import load_file

from gpu_worker.models.files import ModelFilesError, ModelSpec, verify_files
from gpu_worker.render.families.lora_layers import LoadedLora, LoraLayers
from gpu_worker.render.interface import LoraCoverage, LoraMismatchError, LoraUse, UnsupportedRequestError
from svc_common.lora_files.header import LoraFileError, read_header

TextLoras: TypeAlias = tuple[tuple[str, float], ...]
"""The LoRAs that change how prompts are encoded, with their weights, in their order."""
# More than a job may have (8), so that two jobs that alternate needn't reload all of theirs.
_KEPT: Final = 16


class LoraAdapters:
    """The LoRAs in one pipeline. For the render thread."""

    def __init__(self, pipe: Any, family: str, models_dir: Path, loading_lock: AbstractContextManager[Any]) -> None:
        """Takes a pipeline without LoRAs; the lock is held while modules are built."""
        self._pipe = pipe
        self._family = family
        self._models_dir = models_dir
        self._loading_lock = loading_lock
        self._loaded: OrderedDict[str, LoadedLora] = OrderedDict()  # least recently used first

    @property
    def names(self) -> tuple[str, ...]:
        """Adapters that are loaded, switched on or not."""
        return tuple(self._loaded)

    def apply(self, uses: Sequence[LoraUse]) -> TextLoras:
        """Switches on exactly these LoRAs, loading what is missing; those of weight 0 count as absent.

        Raises:
            LoraMismatchError: a LoRA doesn't fit the model.
            ModelFilesError: its files are absent or not what its specification says.

        """
        weighted = [(adapter_name(use.model), use) for use in uses if use.weight != 0]
        if not weighted and not self._loaded:
            return ()
        for name, use in weighted:
            self._load(name, use.model)
        self._evict(keep={name for name, _ in weighted})
        try:
            with torch.no_grad():
                self._layers.switch_on([(name, self._loaded[name], use.weight) for name, use in weighted])
        except LoraFileError as error:
            culprits = ", ".join(use.model.model_id for _, use in weighted)
            raise LoraMismatchError(f"the LoRA {culprits} does not fit the model: it {error}") from error
        return tuple((name, use.weight) for name, use in weighted if self._loaded[name].changes_text_encoders)

    def coverage(self, uses: Sequence[LoraUse]) -> tuple[LoraCoverage, ...]:
        """Returns how much of each LoRA is applied, for those that are loaded."""
        return tuple(
            LoraCoverage(use.model.model_id, plan.applied_count, plan.total_count)
            for use in uses
            if (loaded := self._loaded.get(adapter_name(use.model))) and (plan := loaded.plan)
        )

    @cached_property
    def _layers(self) -> LoraLayers:
        return LoraLayers(self._pipe, self._family)

    def _load(self, name: str, model: ModelSpec) -> None:
        if name in self._loaded:
            self._loaded.move_to_end(name)
            return
        folder = model.folder(self._models_dir)
        verify_files(folder, model.files)
        path = folder / _single_file(model)
        try:
            plan = self._layers.names.plan(read_header(path))
            with self._loading_lock, torch.no_grad():
                self._loaded[name] = self._layers.load(name, plan, load_file(path))
        except LoraFileError as error:
            self._remove(name)
            raise LoraMismatchError(f"the LoRA {model.model_id} does not fit the model: it {error}") from error
        except BaseException:
            self._remove(name)
            raise

    def _evict(self, keep: set[str]) -> None:
        for name in [name for name in self._loaded if name not in keep][: max(0, len(self._loaded) - _KEPT)]:
            self._remove(name)

    def _remove(self, name: str) -> None:
        self._loaded.pop(name, None)
        self._layers.remove(name)


def adapter_name(model: ModelSpec) -> str:
    """Returns the name of a LoRA's adapter, which changes with its files."""
    # Not the id itself: adapters are names of modules, which know no full stops.
    identity = "\n".join((model.model_id, model.revision, *(file.sha256 for file in model.files)))
    return "lora_" + hashlib.sha256(identity.encode()).hexdigest()[:16]


def refuse_foreign_loras(uses: Sequence[LoraUse], family: str, *, has_loras: bool) -> None:
    """Raises UnsupportedRequestError when a LoRA is of another family, or the family has none at all."""
    for use in uses:
        if not has_loras:
            raise UnsupportedRequestError(f"models of the family {family} have no LoRAs")
        if use.model.family != family:
            raise UnsupportedRequestError(
                f"the LoRA {use.model.model_id} is for models of the family {use.model.family}, not {family}"
            )


def _single_file(model: ModelSpec) -> str:
    weights = [file.path for file in model.files if file.path.endswith(".safetensors")]
    if len(weights) != 1:
        raise ModelFilesError(f"a LoRA has exactly one .safetensors file, {model.model_id} has {len(weights)}")
    return weights[0]
