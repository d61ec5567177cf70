"""Reading models from disk: diffusers folders and single-file checkpoints, and nothing that runs code.

A folder is what `save_pretrained` of diffusers writes. A single-file checkpoint is a folder with exactly one safetensors
file at its top, and beside it `config/`, a diffusers folder of JSON and tokenizers; parts that the checkpoint lacks
(FLUX and Z-Image are mostly published without text encoders) have their weights in `config/` too.

Nothing is fetched, pickles are never read, and classes are named by the family: a model_index.json is data of others.
Every weight is one of the files': what is missing or too much ends the load. `checkpoint_files` says so in words first, and
what it can't tell is told here by the libraries.
"""

from pathlib import Path
from typing import Any, Final

import diffusers
import torch
import transformers
from diffusers import EulerDiscreteScheduler
from diffusers.loaders.single_file import load_single_file_sub_model
from safetensors.torch import load_file

from gpu_worker.models.checkpoint_files.header import CheckpointError, read_header
from gpu_worker.models.checkpoint_files.layout import Layout, Part, layout_of
from gpu_worker.models.checkpoint_files.prediction import MARKERS, sampling_changes
from gpu_worker.models.checkpoint_files.scales import scales_of
from gpu_worker.models.checkpoint_files.survey import is_idle, weights_inside
from svc_common.lora_files.modules import some_of
from svc_common.safetensors_header import FileHeader

UPSCALER_FOLDER: Final = "upscaler"
_LIBRARIES: Final = {"diffusers": diffusers, "transformers": transformers}


def load_pipeline(pipeline_class: Any, folder: Path, dtype: torch.dtype, **parts: Any) -> Any:
    """Loads a model into host memory as a pipeline of a class; parts given here are not looked for.

    Raises CheckpointError when the folder is neither a diffusers folder nor a single-file checkpoint, names parts from
    elsewhere, or holds other weights than the parts have.
    """
    layout = layout_of(folder)
    header = None if layout.checkpoint is None else read_header(layout.checkpoint)
    checkpoint = {} if layout.checkpoint is None or header is None else _weights(layout.checkpoint, header, dtype)
    loaded = {
        part.name: _loaded(part, layout, checkpoint, dtype)
        for part in layout.parts.values()
        if part.name not in parts and issubclass(_class_of(part), torch.nn.Module)
    }
    pipe = pipeline_class.from_pretrained(
        layout.config_folder,
        dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        **loaded,
        **parts,
    )
    if header is not None and "unet" in layout.parts:
        _sample_as_marked(pipe, header)
    pipe.set_progress_bar_config(disable=True)
    for module in modules(pipe):
        module.requires_grad_(requires_grad=False).eval()
    return pipe


def same_parts(pipeline_class: Any, pipe: Any, **settings: Any) -> Any:
    """Returns a pipeline of another class on the parts of a loaded one: no weight is copied."""
    names, _ = pipeline_class._get_signature_keys(pipeline_class)  # noqa: SLF001 - what from_pipe of diffusers does,
    # which can't be used: it casts the parts, which both pipelines share, to float32.
    parts = {name: pipe.components[name] for name in names if name in pipe.components}
    other = pipeline_class(**{**parts, **settings})
    other.set_progress_bar_config(disable=True)
    return other


def modules(pipe: Any) -> list[torch.nn.Module]:
    """Returns the parts of a pipeline that have weights."""
    return [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]


def weights_bytes(pipe: Any) -> int:
    """Returns the bytes of a pipeline's weights."""
    parameters = (parameter for module in modules(pipe) for parameter in module.parameters())
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)


def refuse_broken_numbers(pipe: Any) -> None:
    """Raises CheckpointError for a part with weights that are not finite."""
    for name, part in pipe.components.items():
        if not isinstance(part, torch.nn.Module):
            continue
        weights = [weight for weight in part.parameters() if weight.is_floating_point() and weight.numel()]
        if not weights:
            continue
        # A sum is as fast as memory and keeps what isn't finite; but it may leave the range of numbers by itself.
        sums = torch.stack([weight.sum(dtype=torch.float32) for weight in weights])
        if not sums.isfinite().all() and not all(weight.isfinite().all() for weight in weights):
            broken = [key for key, weight in part.named_parameters() if not weight.isfinite().all()]
            raise CheckpointError(
                f"{name}: {len(broken)} weights hold numbers that are not finite, such as {some_of(broken)}"
            )


def _class_of(part: Part) -> Any:
    found = getattr(_LIBRARIES[part.library], part.class_name, None)
    if not isinstance(found, type):
        raise CheckpointError(f"{part.name} is of the class {part.class_name}, which {part.library} doesn't have")
    return found


def _loaded(part: Part, layout: Layout, checkpoint: dict[str, torch.Tensor], dtype: torch.dtype) -> torch.nn.Module:
    if weights_inside(layout, part):
        module = load_single_file_sub_model(
            library_name=part.library,
            class_name=part.class_name,
            name=part.name,
            checkpoint=checkpoint,
            pipelines=diffusers.pipelines,
            is_pipeline_module=False,
            cached_model_config_path=str(layout.config_folder),
            local_files_only=True,
            torch_dtype=dtype,
        )
    else:
        module, report = _class_of(part).from_pretrained(
            part.folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
        for kind in ("missing_keys", "mismatched_keys", "unexpected_keys"):
            keys = sorted(map(str, report.get(kind) or ()))
            if kind == "unexpected_keys":
                keys = [key for key in keys if not is_idle(key)]
            if keys:
                raise CheckpointError(f"{part.name} has {len(keys)} {kind.replace('_', ' ')}: {some_of(keys)}")
    unset = [name for name, weight in (*module.named_parameters(), *module.named_buffers()) if weight.is_meta]
    if unset:
        raise CheckpointError(f"{part.name}: {len(unset)} weights are in none of the files, such as {some_of(unset)}")
    loaded: torch.nn.Module = module
    return loaded


def _weights(path: Path, header: FileHeader, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Reads a single file, with the scales of its weights applied and without what is no weight."""
    scales = scales_of(path, header)
    tensors = load_file(path)
    for key, scale_key in scales.of_weights.items():
        weight, scale = tensors[key], tensors[scale_key].float()
        # In float32, where the product of the two is rounded once.
        by_output = scale.reshape(-1, *(1,) * (weight.ndim - 1)) if scale.numel() > 1 else scale.reshape(())
        tensors[key] = (weight.float() * by_output).to(dtype)
    return {key: tensor for key, tensor in tensors.items() if key not in scales.beside and key not in MARKERS}


def _sample_as_marked(pipe: Any, header: FileHeader) -> None:
    changes = sampling_changes(header, pipe.scheduler.config)
    if changes:
        # Of a class that knows all of the changes; each render takes a scheduler of its own with this one's config.
        pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config, **changes)
