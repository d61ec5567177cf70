"""Whether a model's files hold all of the model: by headers and configurations, as a worker would find out by loading.

Tells what is missing, too much, or of another shape, part by part. A part whose class isn't described in `architectures` is
only looked at as far as its headers go.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pingvas.vocabulary import Operation

from gpu_worker.models.checkpoint_files.architectures import Tensors, describes, tensors_of
from gpu_worker.models.checkpoint_files.fitting import misfits, refusals
from gpu_worker.models.checkpoint_files.header import CheckpointError, read_header
from gpu_worker.models.checkpoint_files.layout import CONFIG_FOLDER, Layout, Part, layout_of
from gpu_worker.models.checkpoint_files.names import Naming, namings
from gpu_worker.models.checkpoint_files.prediction import MARKERS, sampling_changes
from gpu_worker.models.checkpoint_files.scales import scales_of
from svc_common.lora_files.modules import some_of, without_ones
from svc_common.safetensors_header import FLOATS, FileHeader, Shape, TensorInfo

_DIFFUSION: Final = ("text_encoder", "unet", "vae")
PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "tiny": _DIFFUSION,
    "sd15": _DIFFUSION,
    "sdxl": ("text_encoder", "text_encoder_2", "unet", "vae"),
    "flux": ("text_encoder", "text_encoder_2", "transformer", "vae"),
    "zimage": ("text_encoder", "transformer", "vae"),
    "sd_x2": _DIFFUSION,
    "sd_x4": _DIFFUSION,
}
"""The parts with weights that models of each family have."""
_TOKENIZER_OF: Final = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
_UPSCALER_FILES: Final = ("upscaler/config.json", "upscaler/model.safetensors")

# Tensors that checkpoints carry although no weight is in them: tables that are computed, and parts that only training needs.
_IDLE: Final = re.compile(
    r"(?:^|\.)(?:position_ids|logit_scale|inv_freq|attn_mask)$"
    r"|^model_ema\.|^(?:first_stage_model|vae)\.(?:loss|model_ema)\."
    r"|^(?:alphas|betas|sqrt|log_one|posterior|lvlb)\w*$|^denoiser\.|^(?:global_step|scale_factor|logvar)$"
    r"|^cond_stage_model\.model\.(?:transformer\.resblocks\.23\.|text_projection$)"  # the last layer of SD 2 isn't used
    r"|(?:^|\.)text_encoder\.text_projection|^(?:cond_stage_model|conditioner\.embedders\.0)\.(?:transformer\.)?text_projection"
    r"|^text_encoders\.clip_l\.transformer\.text_projection"
    r"|(?:^|\.)(?:encoder\.embed_tokens|lm_head)\.weight$"  # tied to another
    r"|^(?:model\.diffusion_model\.)?norm_final\.weight$"  # of Z-Image, and not used
)
_OLD_ATTENTION: Final = (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0"))
"""How diffusers named the layers of a decoder's attention at first; it still loads them."""


def survey(folder: Path, family: str, operations: Collection[str] = ()) -> None:
    """Checks that a folder holds all of a model, and one that can do some operations, by the contract's names.

    Raises CheckpointError with a line for each problem.
    """
    if family not in PARTS:
        raise CheckpointError(f"no worker can run models of the family {family}; there are {', '.join(PARTS)}")
    layout = layout_of(folder)
    problems = [*_missing_parts(layout, family)]
    if not problems:
        problems += _broken_parts(layout, family)
    if not problems:
        configs = {name: layout.parts[name].config() for name in PARTS[family]}
        problems += [*misfits(family, configs), *refusals(family, configs, operations)]
    if Operation.UPSCALE in operations and family == "tiny":
        problems += [f"{name} is missing, which upscales" for name in _UPSCALER_FILES if not (folder / name).is_file()]
    if problems:
        raise CheckpointError("\n".join(problems))


def is_idle(key: str) -> bool:
    """Tells whether a tensor is one that checkpoints carry although no weight is in it."""
    return bool(_IDLE.search(key))


def weights_inside(layout: Layout, part: Part) -> bool:
    """Tells whether a part's weights are in the single file, and not in a file of their own."""
    return layout.checkpoint is not None and not part.weight_files()


def _missing_parts(layout: Layout, family: str) -> Iterator[str]:
    for name in PARTS[family]:
        if name not in layout.parts:
            yield f"the model has no {name}: model_index.json doesn't name one"
            continue
        tokenizer = _TOKENIZER_OF.get(name)
        if tokenizer is not None and not any((layout.config_folder / tokenizer).glob("*")):
            yield f"the model has no {tokenizer}: the folder {tokenizer} is missing or empty"


def _broken_parts(layout: Layout, family: str) -> Iterator[str]:
    parts = [layout.parts[name] for name in PARTS[family]]
    yield from _problem_of(layout.scheduler_config)
    inside = [part for part in parts if weights_inside(layout, part)]
    for part in parts:
        if part not in inside:
            yield from _part_in_folder(part)
    if layout.checkpoint is not None:
        yield from _single_file(layout, layout.checkpoint, inside)


def _problem_of(check: Any) -> Iterator[str]:
    try:
        check()
    except CheckpointError as error:
        yield str(error)


def _part_in_folder(part: Part) -> Iterator[str]:
    try:
        expected = tensors_of(part.class_name, part.config())
        files = part.weight_files()
        if not files:
            yield f"{part.name} has no weights: {part.name}/{part.stem}.safetensors is missing"
            return
        headers = [(path, read_header(path)) for path in files]
        if any(scales_of(path, header).beside for path, header in headers):
            yield f"{part.name} is float8 with scales, which is supported in single-file checkpoints only"
            return
    except CheckpointError as error:
        yield str(error)
        return
    found = {key: tensor for _, header in headers for key, tensor in header.tensors.items()}
    if expected is not None:
        named = {_plain(key, part): tensor for key, tensor in found.items() if not is_idle(key)}
        if part.class_name == "T5EncoderModel" and "encoder.embed_tokens.weight" in found:
            named.setdefault("shared.weight", found["encoder.embed_tokens.weight"])
        yield from _differences(part.name, expected, named, exact=True)


def _plain(key: str, part: Part) -> str:
    """Returns the name of a tensor as `architectures` has it."""
    if part.library == "transformers":
        return re.sub(r"^(?:text_model|model)\.", "", key)
    if part.class_name == "AutoencoderKL" and ".attentions." in key:
        for old, new in _OLD_ATTENTION:
            key = key.replace(f".{old}.", f".{new}.")
    return key


def _single_file(layout: Layout, path: Path, inside: list[Part]) -> Iterator[str]:
    try:
        header = read_header(path)
        scales = scales_of(path, header)
    except CheckpointError as error:
        yield str(error)
        return
    known = {*scales.beside}
    if "unet" in layout.parts:
        known |= MARKERS
        yield from _problem_of(lambda: _check_sampling(path, header, layout))
    left = {key: tensor for key, tensor in header.tensors.items() if key not in known and not is_idle(key)}
    elsewhere = tuple(prefix for part in layout.parts.values() if part not in inside for prefix in _prefixes(part))
    described = True
    for part in inside:
        try:
            expected = tensors_of(part.class_name, part.config())
        except CheckpointError as error:
            yield str(error)
            expected = None
        if expected is None:
            described = False
            continue
        naming = _best(part, expected, left)
        if naming is None:
            looked_for = " or ".join(f"{prefix}*" for prefix in _prefixes(part) if prefix)
            without = f"{path.name} has no {looked_for}" if looked_for else f"it isn't in {path.name}"
            yield f"the {part.name} is missing: {without}, and {CONFIG_FOLDER}/{part.name} has no weights"
            continue
        own = {key: left.pop(key) for key in list(left) if key.startswith(naming.prefix)} if naming.prefix else left
        yield from _differences(part.name, naming.tensors, own, exact=False)
        left = left if naming.prefix else {}
    unknown = [key for key in left if not key.startswith(elsewhere)] if elsewhere else [*left]
    if described and unknown:
        yield f"{path.name} has {len(unknown)} tensors that are of no part of the model, such as {some_of(unknown)}"


def _check_sampling(path: Path, header: FileHeader, layout: Layout) -> None:
    try:
        sampling_changes(header, layout.scheduler_config())
    except CheckpointError as error:
        raise CheckpointError(f"{path.name} {error}") from error


def _prefixes(part: Part) -> list[str]:
    """Returns what the keys of a part may begin with."""
    if not describes(part.class_name):
        return []
    tensors = tensors_of(part.class_name, _config_or_nothing(part))
    return (
        []
        if tensors is None
        else list(dict.fromkeys(each.prefix for each in namings(part.class_name, part.name, tensors)))
    )


def _config_or_nothing(part: Part) -> dict[str, Any]:
    try:
        return part.config()
    except CheckpointError:
        return {}


def _best(part: Part, expected: Tensors, found: Mapping[str, TensorInfo]) -> Naming | None:
    """Returns the naming that most of a file's keys follow, or None when none does."""
    ranked = [(len(each.tensors.keys() & found.keys()), each) for each in namings(part.class_name, part.name, expected)]
    count, naming = max(ranked, key=lambda pair: pair[0], default=(0, None))
    return naming if count else None


def _differences(
    part: str, expected: Mapping[str, Shape], found: Mapping[str, TensorInfo], *, exact: bool
) -> Iterator[str]:
    missing = [key for key in expected if key not in found]
    if missing:
        yield f"{part}: {len(missing)} of its {len(expected)} tensors are missing, such as {some_of(missing)}"
    unexpected = [key for key in found if key not in expected]
    if unexpected:
        yield f"{part}: {len(unexpected)} tensors are not of the model, such as {some_of(unexpected)}"
    wanted = {key: shape for key, shape in expected.items() if key in found}
    # The authors' code has some linear layers as convolutions of one pixel.
    misshapen = [
        key
        for key, shape in wanted.items()
        if found[key].shape != shape and (exact or without_ones(found[key].shape) != without_ones(shape))
    ]
    if misshapen:
        key = misshapen[0]
        yield (
            f"{part}: {len(misshapen)} tensors have another shape than its config says, such as {key} with"
            f" {list(found[key].shape)} instead of {list(wanted[key])}"
        )
    whole = [key for key in wanted if found[key].dtype not in FLOATS]
    if whole:
        dtype = found[whole[0]].dtype
        yield f"{part}: {len(whole)} weights are no floating-point numbers but {dtype}, such as {some_of(whole)}"
