"""Reading models from disk: diffusers folders and single-file checkpoints, and nothing that runs code.

A folder is what `save_pretrained` of diffusers writes. A single-file checkpoint is a folder with exactly one safetensors
file at its top, and beside it `config/`, a diffusers folder of JSON and tokenizers; parts that the checkpoint lacks
(FLUX and Z-Image are mostly published without text encoders) have their weights in `config/` too.

Nothing is fetched, pickles are never read, and classes are named by the family: a model_index.json is data of others.
"""

import json
from pathlib import Path
from typing import Any, Final

import torch

from gpu_worker.model_files import ModelFilesError

CONFIG_FOLDER: Final = "config"
UPSCALER_FOLDER: Final = "upscaler"
_INDEX_NAME: Final = "model_index.json"
# What a model_index.json may name the classes of its parts from: any other module would be imported by diffusers.
_LIBRARIES: Final = frozenset({"diffusers", "transformers", "stable_diffusion", None})


def load_pipeline(pipeline_class: Any, folder: Path, dtype: torch.dtype, **parts: Any) -> Any:
    """Loads a model into host memory as a pipeline of a class; parts given here are not looked for.

    Raises ModelFilesError when the folder is neither a diffusers folder nor a single-file checkpoint, or names parts
    from elsewhere.
    """
    checkpoint = _single_file(folder)
    _refuse_foreign_parts((folder / CONFIG_FOLDER if checkpoint else folder) / _INDEX_NAME)
    if checkpoint is None:
        pipe = pipeline_class.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False, **parts
        )
    else:
        config = folder / CONFIG_FOLDER
        pipe = pipeline_class.from_single_file(
            str(checkpoint),
            config=str(config),
            local_files_only=True,
            dtype=dtype,
            **_parts_with_weights(config, dtype),
            **parts,
        )
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


def _single_file(folder: Path) -> Path | None:
    if (folder / _INDEX_NAME).exists():
        return None
    checkpoints = sorted(folder.glob("*.safetensors"))
    if len(checkpoints) != 1 or not (folder / CONFIG_FOLDER / _INDEX_NAME).exists():
        raise ModelFilesError(
            f"a model is a folder with {_INDEX_NAME}, or one .safetensors file with a folder {CONFIG_FOLDER} beside it"
        )
    return checkpoints[0]


def _refuse_foreign_parts(index: Path) -> None:
    try:
        parts = [value for value in json.loads(index.read_bytes()).values() if isinstance(value, list)]
    except (OSError, ValueError, AttributeError) as error:
        raise ModelFilesError(f"{_INDEX_NAME} cannot be read: {error}") from error
    foreign = sorted(str(part[0]) for part in parts if part and part[0] not in _LIBRARIES)
    if foreign:
        raise ModelFilesError(f"{_INDEX_NAME} names a part of {foreign[0]}, which is not of diffusers or transformers")


def _parts_with_weights(config: Path, dtype: torch.dtype) -> dict[str, Any]:
    import diffusers  # noqa: PLC0415 - as modules, to look classes up by name
    import transformers  # noqa: PLC0415 - as above

    libraries = {"diffusers": diffusers, "transformers": transformers}
    index = json.loads((config / _INDEX_NAME).read_bytes())
    found = {path.parent.name for path in config.glob("*/*.safetensors")}
    return {
        name: getattr(libraries[index[name][0]], index[name][1]).from_pretrained(
            config / name, dtype=dtype, use_safetensors=True, local_files_only=True
        )
        for name in sorted(found & index.keys())
    }
