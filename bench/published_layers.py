"""Writes down which layers the published models have, for checks of LoRAs where there is no model.

`python -m bench.published_layers` replaces svc_common/lora_files/published_layers.json. No weights are made: the models
are built on torch's meta device.
"""

import json
from typing import Any

import torch

from bench.true_models import true_pipeline
from svc_common.lora_files.names import DENOISERS, Layers, known_names
from svc_common.lora_files.survey import PUBLISHED_LAYERS_PATH, PublishedLayers, without_numbers

FAMILIES = ("sd15", "sdxl", "flux", "zimage")


def published_layers(family: str) -> dict[str, dict[str, list[list[int]]]]:
    """Returns the names of a family's layers without their numbers, and the shapes that such layers have."""
    pipe = true_pipeline(family, torch.device("meta"), torch.bfloat16)
    parts = (DENOISERS[family], "text_encoder", "text_encoder_2")
    return {part: _described(part, network) for part in parts if (network := pipe.components.get(part)) is not None}


def _described(part: str, network: Any) -> dict[str, list[list[int]]]:
    layers: Layers = {
        name: tuple(module.weight.shape)
        for name, module in network.named_modules()
        if isinstance(getattr(module, "weight", None), torch.nn.Parameter)
    }
    shapes: dict[str, set[tuple[int, ...]]] = {}
    for name, pieces in known_names(part, layers).items():
        shape = (sum(piece.count for piece in pieces), *layers[pieces[0].layer][1:])
        shapes.setdefault(without_numbers(name), set()).add(shape)
    return {name: [list(shape) for shape in sorted(found)] for name, found in sorted(shapes.items())}


def _text(published: PublishedLayers) -> str:
    """Returns JSON with one name on a line, so that differences can be read."""
    families = []
    for family, parts in published.items():
        described = []
        for part, names in parts.items():
            lines = ",\n".join(f"   {json.dumps(name)}: {json.dumps(shapes)}" for name, shapes in names.items())
            described.append(f"  {json.dumps(part)}: {{\n{lines}\n  }}")
        families.append(f" {json.dumps(family)}: {{\n" + ",\n".join(described) + "\n }")
    return "{\n" + ",\n".join(families) + "\n}\n"


if __name__ == "__main__":
    PUBLISHED_LAYERS_PATH.write_text(_text({family: published_layers(family) for family in FAMILIES}), "utf-8")
