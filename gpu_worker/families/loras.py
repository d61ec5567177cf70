"""LoRAs of a loaded model: put in by name, switched on and off for each job, the least recently used taken out.

Owns the adapters in one pipeline. Leaves the model itself to `residency`: when it leaves, its LoRAs leave with it.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, TypeAlias

from safetensors import SafetensorError

from gpu_worker.families.memory import is_out_of_memory
from gpu_worker.model_files import ModelFilesError, ModelSpec, verify_files
from gpu_worker.rendering import LoraUse, RenderError, UnsupportedRequestError

TextLoras: TypeAlias = tuple[tuple[str, float], ...]
"""The LoRAs that change how prompts are encoded, with their weights, in their order."""
# More than a job may have (8), so that two jobs that alternate needn't reload all of theirs.
_KEPT: Final = 16


class LoraAdapters:
    """The LoRAs in one pipeline. For the render thread."""

    def __init__(self, pipe: Any, models_dir: Path, loading_lock: AbstractContextManager[Any]) -> None:
        """Takes a pipeline without LoRAs; the lock is held while modules are built."""
        self._pipe = pipe
        self._models_dir = models_dir
        self._loading_lock = loading_lock
        self._names: OrderedDict[str, None] = OrderedDict()  # least recently used first

    @property
    def names(self) -> tuple[str, ...]:
        """Adapters that are loaded, switched on or not."""
        return tuple(self._names)

    def apply(self, uses: Sequence[LoraUse]) -> TextLoras:
        """Switches on exactly these LoRAs, loading what is missing; those of weight 0 count as absent.

        Raises:
            RenderError: a LoRA doesn't fit the model.
            ModelFilesError: its files are absent or not what its specification says.

        """
        weighted = [(self._adapter(use.model), use) for use in uses if use.weight != 0]
        for name, use in weighted:
            self._load(name, use.model)
        self._evict(keep={name for name, _ in weighted})
        if not weighted:
            if self._names:
                self._pipe.disable_lora()
            return ()
        self._pipe.enable_lora()
        self._pipe.set_adapters([name for name, _ in weighted], [use.weight for _, use in weighted])
        return self._of_text_encoders([(name, use.weight) for name, use in weighted])

    def _adapter(self, model: ModelSpec) -> str:
        # Not the id itself: adapters are names of modules, which know no full stops.
        identity = "\n".join((model.model_id, model.revision, *(file.sha256 for file in model.files)))
        return "lora_" + hashlib.sha256(identity.encode()).hexdigest()[:16]

    def _load(self, name: str, model: ModelSpec) -> None:
        if name in self._names:
            self._names.move_to_end(name)
            return
        folder = model.folder(self._models_dir)
        verify_files(folder, model.files)
        weight_name = _single_file(model)
        try:
            with self._loading_lock:
                self._pipe.load_lora_weights(
                    folder, weight_name=weight_name, adapter_name=name, use_safetensors=True, local_files_only=True
                )
            fits = any(name in names for names in self._pipe.get_list_adapters().values())
        except (ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            self._remove(name)
            if is_out_of_memory(error):
                raise
            raise RenderError(f"the LoRA {model.model_id} does not fit the model") from error
        if not fits:
            raise RenderError(f"the LoRA {model.model_id} does not fit the model: it has nothing for any part of it")
        self._names[name] = None

    def _evict(self, keep: set[str]) -> None:
        for name in [name for name in self._names if name not in keep][: max(0, len(self._names) - _KEPT)]:
            self._remove(name)

    def _remove(self, name: str) -> None:
        self._names.pop(name, None)
        if any(name in names for names in self._pipe.get_list_adapters().values()):
            self._pipe.delete_adapters(name)

    def _of_text_encoders(self, weighted: list[tuple[str, float]]) -> TextLoras:
        parts = self._pipe.get_list_adapters()
        touching = {name for part, names in parts.items() if part.startswith("text_encoder") for name in names}
        return tuple((name, weight) for name, weight in weighted if name in touching)


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
