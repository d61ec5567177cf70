"""The layers of a loaded pipeline that LoRAs change, and the two ways in which they are changed.

A product of two small matrices is computed beside its layer, by peft: little memory, and another weight costs nothing. Any
other change is added to the weights themselves; the weights as they were are kept and put back, so nothing is left of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import torch
from peft import LoraConfig
from peft.mapping import inject_adapter_in_model
from peft.tuners.lora import LoraLayer

from gpu_worker.render.families.lora_deltas import Fields, low_rank_pair, weight_change
from svc_common.lora_files.header import LoraFileError
from svc_common.lora_files.names import DENOISERS, Layers
from svc_common.lora_files.plan import LoraNames, LoraPlan, PlannedChange

_TEXT_ENCODERS: Final = ("text_encoder", "text_encoder_2")
_LayerKey: TypeAlias = tuple[str, str]
"""Part and layer."""


@dataclass(frozen=True, slots=True)
class LoadedLora:
    """A LoRA that is ready to be switched on."""

    plan: LoraPlan
    merged: tuple[tuple[PlannedChange, Fields], ...]
    """What is added to weights; the rest is with peft."""

    @property
    def changes_text_encoders(self) -> bool:
        """Tells whether prompts are encoded otherwise with it."""
        return any(change.part in _TEXT_ENCODERS for change in self.plan.changes)


class LoraLayers:
    """The layers of one pipeline. For the render thread."""

    def __init__(self, pipe: Any, family: str) -> None:
        """Takes a pipeline without LoRAs."""
        names = (DENOISERS[family], *_TEXT_ENCODERS)
        self._parts = {name: part for name in names if (part := pipe.components.get(name)) is not None}
        self._layers: dict[_LayerKey, Any] = {
            (part, name): module
            for part, network in self._parts.items()
            for name, module in network.named_modules()
            if isinstance(getattr(module, "weight", None), torch.nn.Parameter)
        }
        shapes: dict[str, Layers] = {part: self._shapes(part) for part in self._parts}
        self.names = LoraNames(family, shapes)
        self._originals: dict[torch.nn.Parameter, torch.Tensor] = {}
        self._merged: tuple[tuple[str, float], ...] | None = ()
        """What is added to the weights; None while that is changing."""

    def load(self, name: str, plan: LoraPlan, tensors: Mapping[str, torch.Tensor]) -> LoadedLora:
        """Puts what is computed beside layers into them, switched off; raises LoraFileError."""
        beside: dict[_LayerKey, tuple[torch.Tensor, torch.Tensor]] = {}
        merged = []
        for change in plan.changes:
            fields = {field: tensors[key].float() for field, key in change.module.keys.items()}
            keys = [(change.part, piece.layer) for piece in change.pieces]
            self._refuse_absent_bias(change)
            # Parts of one layer's rows can't share a pair of matrices with others.
            if change.module.is_plain and len({*keys}) == len(keys) and all(map(self._takes_pairs, keys)):
                down, up = low_rank_pair(change, fields)
                for key, piece in zip(keys, change.pieces, strict=True):
                    beside[key] = (down, up[piece.source : piece.source + piece.count])
            else:
                merged.append((change, fields))
        self._inject(name, beside)
        return LoadedLora(plan, tuple(merged))

    def remove(self, name: str) -> None:
        """Takes a LoRA out of the layers that peft has it in."""
        for part in self._parts.values():
            for layer in _peft_layers([part]):
                if name in layer.scaling:
                    layer.delete_adapter(name)
            getattr(part, "peft_config", {}).pop(name, None)

    def switch_on(self, loras: Sequence[tuple[str, LoadedLora, float]]) -> None:
        """Switches on exactly these LoRAs, with their weights."""
        names = [name for name, _, _ in loras]
        for layer in _peft_layers(self._parts.values()):
            own = [name for name in names if name in layer.scaling]
            layer.enable_adapters(bool(own))
            if own:
                layer.set_adapter(own, inference_mode=True)
            for name, _, weight in loras:
                layer.set_scale(name, weight)
        merged = tuple((name, weight) for name, lora, weight in loras if lora.merged)
        if merged != self._merged:
            self._merged = None
            self._put_back()
            self._merge([(change, fields, weight) for _, lora, weight in loras for change, fields in lora.merged])
            self._merged = merged

    def _shapes(self, part: str) -> Layers:
        return {name: tuple(module.weight.shape) for (of, name), module in self._layers.items() if of == part}

    def _takes_pairs(self, key: _LayerKey) -> bool:
        return isinstance(self._layers[key], torch.nn.Linear | torch.nn.Conv2d)

    def _refuse_absent_bias(self, change: PlannedChange) -> None:
        if "bias_difference" not in change.module.keys:
            return
        for piece in change.pieces:
            if getattr(self._layers[change.part, piece.layer], "bias", None) is None:
                raise LoraFileError(f"changes a bias that the model hasn't: {change.module.keys['bias_difference']}")

    def _inject(self, name: str, pairs: Mapping[_LayerKey, tuple[torch.Tensor, torch.Tensor]]) -> None:
        for part, network in self._parts.items():
            own = {layer: pair for (of, layer), pair in pairs.items() if of == part}
            if not own:
                continue
            # Its keys tell peft the layers; its numbers are not looked at.
            keys = {f"{layer}.lora_A.weight": torch.empty(0) for layer in own}
            config = LoraConfig(r=1, lora_alpha=1, target_modules=[*own], init_lora_weights=False)
            inject_adapter_in_model(config, network, name, low_cpu_mem_usage=True, state_dict=keys)
            for layer, (down, up) in own.items():
                _fill(network.get_submodule(layer), name, self._layers[part, layer].weight, down, up)

    def _merge(self, changes: Iterable[tuple[PlannedChange, Fields, float]]) -> None:
        totals: dict[torch.nn.Parameter, torch.Tensor] = {}
        for change, fields, strength in changes:
            layers = [self._layers[change.part, piece.layer] for piece in change.pieces]
            own = {field: tensor.to(layers[0].weight.device) for field, tensor in fields.items()}
            if change.module.changes_weight:
                weights = [layer.weight for layer in layers]
                rows = [
                    weight.data[piece.start : piece.start + piece.count]
                    for weight, piece in zip(weights, change.pieces, strict=True)
                ]
                _add(totals, change, weights, strength * weight_change(change, own, torch.cat(rows)))
            if "bias_difference" in own:
                _add(totals, change, [layer.bias for layer in layers], strength * own["bias_difference"])
        for parameter, total in totals.items():
            merged = (parameter.data.float() + total).to(parameter.dtype)
            self._originals[parameter] = parameter.data
            parameter.data = merged

    def _put_back(self) -> None:
        for parameter, original in self._originals.items():
            parameter.data = original
        self._originals.clear()


def _add(
    totals: dict[torch.nn.Parameter, torch.Tensor],
    change: PlannedChange,
    parameters: Sequence[torch.nn.Parameter],
    rows: torch.Tensor,
) -> None:
    """Adds the rows of a module's change to the totals of the parameters that its pieces are of."""
    for parameter, piece in zip(parameters, change.pieces, strict=True):
        if parameter not in totals:
            totals[parameter] = torch.zeros_like(parameter.data, dtype=torch.float32)
        totals[parameter][piece.start : piece.start + piece.count] += rows[piece.source : piece.source + piece.count]


def _peft_layers(parts: Iterable[Any]) -> Iterable[Any]:
    return (module for part in parts for module in part.modules() if isinstance(module, LoraLayer))


def _fill(layer: Any, name: str, weight: torch.Tensor, down: torch.Tensor, up: torch.Tensor) -> None:
    """Gives a layer of peft its two matrices; alpha over rank is in them, so its own scale is the job's weight alone."""
    rank = down.shape[0]
    shapes = ((rank, *weight.shape[1:]), (up.shape[0], rank, *(1,) * (weight.ndim - 2)))
    for matrices, values, shape in ((layer.lora_A, down, shapes[0]), (layer.lora_B, up, shapes[1])):
        filled = values.reshape(shape).to(weight.device, weight.dtype)
        matrices[name].weight = torch.nn.Parameter(filled, requires_grad=False)
    layer.r[name] = layer.lora_alpha[name] = rank
