"""Notes of ComfyUI: the graph of nodes that made the picture, as it was run (`prompt`), or as it was drawn (`workflow`).

A graph is a program, and no parameter has a place of its own in it. So the sampler is looked for that the saved picture
comes from, and each parameter up the links that lead to it: the nearest node that has it as a value. Nodes that nothing was
taken from are named, since what they do is missing.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from pingvas.vocabulary import Operation as OperationKind

from svc_generation.domain.recipes.findings import Findings, Origin, recipe_invalid
from svc_generation.domain.recipes.json_text import object_in
from svc_generation.domain.recipes.samplers import take_sampler

RUN_KEYWORD: Final = "prompt"
DRAWN_KEYWORD: Final = "workflow"
_MOST_NODES: Final = 5000

_SAVES: Final = ("SaveImage", "PreviewImage", "SaveAnimatedWEBP", "SaveImageWebsocket")
# Nodes that only carry a picture on, or are about the program's own work.
_CARRIERS: Final = frozenset(
    {*_SAVES, "VAEDecode", "VAEDecodeTiled", "BasicGuider", "Note", "MarkdownNote", "Reroute", "PrimitiveNode"}
)
_SEEDS: Final = ("seed", "noise_seed")
_TEXTS: Final = ("text", "text_g", "t5xxl", "clip_l", "prompt", "string", "value", "text_l")
_CHECKPOINTS: Final = ("ckpt_name", "unet_name", "model_name")
_LATENTS: Final = ("latent_image", "latent", "samples", "pixels", "image")
_ENCODERS: Final = frozenset({"VAEEncode", "VAEEncodeForInpaint", "SetLatentNoiseMask"})
_OF_SAMPLERS: Final = frozenset(
    {*_SEEDS, "steps", "cfg", "sampler_name", "scheduler", "denoise", "control_after_generate"}
)

# The values of nodes as they are drawn have no names, but an order, in which these are.
_DRAWN_VALUES: Final = MappingProxyType(
    {
        "KSampler": ("seed", "", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
        "KSamplerAdvanced": ("", "noise_seed", "", "steps", "cfg", "sampler_name", "scheduler"),
        "CLIPTextEncode": ("text",),
        "EmptyLatentImage": ("width", "height", "batch_size"),
        "EmptySD3LatentImage": ("width", "height", "batch_size"),
        "CheckpointLoaderSimple": ("ckpt_name",),
        "UNETLoader": ("unet_name",),
        "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
        "LoraLoaderModelOnly": ("lora_name", "strength_model"),
        "LoadImage": ("image",),
        "FluxGuidance": ("guidance",),
        "RandomNoise": ("noise_seed",),
        "KSamplerSelect": ("sampler_name",),
        "BasicScheduler": ("scheduler", "steps", "denoise"),
        "CFGGuider": ("cfg",),
    }
)


@dataclass(slots=True)
class _Node:
    kind: str
    values: dict[str, Any] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    """The node that each input comes from."""


class _Graph:
    """Nodes by their ids, and which of them something was taken from."""

    def __init__(self, nodes: dict[str, _Node]) -> None:
        self.nodes = nodes
        self.used: set[str] = set()

    def upwards(self, start: str, roads: Iterable[str] | None = None) -> Iterator[tuple[str, _Node]]:
        """Yields a node and those that it comes from, the nearest first, each once; by some of the inputs, or by all."""
        allowed = None if roads is None else frozenset(roads)
        seen, queue = {start}, deque([start])
        while queue:
            node_id = queue.popleft()
            node = self.nodes[node_id]
            yield node_id, node
            for road, source in node.links.items():
                if source in self.nodes and source not in seen and (allowed is None or road in allowed):
                    seen.add(source)
                    queue.append(source)

    def find(self, start: str, names: Iterable[str], roads: Iterable[str] = ()) -> tuple[str, _Node, Any] | None:
        """Returns the nearest node that has a value of one of some names, with the first of those that it has.

        The way leads by inputs of these names, or of those of the roads.
        """
        names = tuple(names)
        for node_id, node in self.upwards(start, (*names, *roads)):
            for name in names:
                if node.values.get(name) not in (None, ""):
                    self.used.add(node_id)
                    return node_id, node, node.values[name]
        return None

    def value(self, start: str, names: Iterable[str], roads: Iterable[str] = ()) -> Any:
        """Returns the value that `find` finds, or None."""
        found = self.find(start, names, roads)
        return found[2] if found else None


def read_comfyui(run: str | None, drawn: str | None) -> Findings | None:
    """Reads the graph as it was run, else as it was drawn; None when no sampler is in it.

    Raises:
        ServiceError: RECIPE_INVALID.
    """
    if run is not None:
        nodes = _nodes_as_run(object_in(run, "ComfyUI graph"))
    else:
        nodes = _nodes_as_drawn(object_in(drawn or "", "ComfyUI workflow"))
    graph = _Graph(nodes)
    sampler = _sampler(graph)
    if sampler is None:
        return None
    found = Findings(Origin.COMFYUI)
    graph.used.add(sampler)
    _take_prompts(found, graph, sampler)
    _take_numbers(found, graph, sampler)
    _take_models(found, graph, sampler)
    _take_beginning(found, graph, sampler)
    for node_id, node in nodes.items():
        if node_id not in graph.used and node.kind not in _CARRIERS:
            values = ", ".join(f"{name}: {value}" for name, value in list(node.values.items())[:5])
            found.leave_out(node.kind, values, "Nothing was taken from this node of the graph.")
    return found


def _sampler(graph: _Graph) -> str | None:
    """Returns the sampler that the saved picture comes from: the nearest to it, which ran last."""
    saves = [node_id for node_id, node in graph.nodes.items() if node.kind in _SAVES]
    # A graph of other nodes for saving is searched whole.
    for start in saves or list(graph.nodes)[-1:]:
        for node_id, node in graph.upwards(start):
            if _is_sampler(node):
                return node_id
    return next((node_id for node_id, node in graph.nodes.items() if _is_sampler(node)), None)


def _is_sampler(node: _Node) -> bool:
    inputs = node.links.keys() | node.values.keys()
    return "latent_image" in node.links and bool(inputs & {"sampler_name", "sampler", "steps"})


def _take_prompts(found: Findings, graph: _Graph, sampler: str) -> None:
    found.take_prompt(_text(found, graph, sampler, "positive"), "positive text")
    found.take_negative_prompt(_text(found, graph, sampler, "negative"), "negative text")


def _text(found: Findings, graph: _Graph, sampler: str, side: str) -> Any:
    """Returns the text of the positive or of the negative side; None where that side has none."""
    start = graph.nodes[sampler]
    guider = graph.nodes.get(start.links.get("guider", ""))
    for node, road in ((start, side), (guider, side), (guider, "conditioning")):
        first = node.links.get(road) if node else None
        if first in graph.nodes and (side == "positive" or road == "negative"):
            break
    else:
        return None
    if graph.nodes[first].kind == "ConditioningZeroOut":  # it means: no text
        graph.used.add(first)
        return None
    hit = graph.find(first, _TEXTS, (side, "conditioning", "conditioning_to", "conditioning_1"))
    if hit is None:
        return None
    _, encoder, text = hit
    for name in _TEXTS:
        if isinstance(encoder.values.get(name), str) and encoder.values[name] not in ("", text):
            found.leave_out(f"{encoder.kind} {name}", encoder.values[name], "A prompt has one text here.")
    return text


def _take_numbers(found: Findings, graph: _Graph, sampler: str) -> None:
    seed = graph.value(sampler, (*_SEEDS, "value"), ("noise",))
    if seed is not None:
        found.take_seed(seed)
    steps = graph.value(sampler, ("steps", "value"), ("sigmas",))
    if steps is not None:
        found.take_step_count(steps)
    # Of a distilled model this one counts, and the other is 1, which turns guidance off.
    guidance = graph.value(sampler, ("guidance",), ("positive", "conditioning", "guider"))
    scale = graph.value(sampler, ("cfg", "value"), ("guider",))
    if guidance is not None:
        found.take_guidance_scale(guidance)
        if scale not in (None, 1):
            found.leave_out("cfg", scale)
    elif scale is not None:
        found.take_guidance_scale(scale)
    name = graph.value(sampler, ("sampler_name",), ("sampler",))
    spacing = graph.value(sampler, ("scheduler",), ("sigmas",))
    if isinstance(name, str):
        take_sampler(found, "sampler", name, spacing if isinstance(spacing, str) else "")
    node = graph.nodes[sampler]
    for part, value in node.values.items():
        if part not in _OF_SAMPLERS:
            found.leave_out(f"{node.kind} {part}", value)


def _take_models(found: Findings, graph: _Graph, sampler: str) -> None:
    roads = ("model", "guider", "sigmas")
    found.take_model(_file_name(graph.value(sampler, _CHECKPOINTS, roads)))
    for node_id, node in graph.upwards(sampler, roads):
        if "lora_name" in node.values:
            graph.used.add(node_id)
            weight = node.values.get("strength_model", 1.0)
            found.take_lora(_file_name(node.values["lora_name"]), weight)
            clip = node.values.get("strength_clip", weight)
            if clip != weight:
                found.change("strength_clip", clip, "A LoRA has one weight here: that for the model is taken.")


def _take_beginning(found: Findings, graph: _Graph, sampler: str) -> None:
    """Takes what the sampler began with: an empty picture of a size, or a picture."""
    strength = graph.value(sampler, ("denoise",), ("sigmas",))
    for node_id, node in graph.upwards(sampler, _LATENTS):
        if node.kind.startswith("LoadImage"):
            graph.used.add(node_id)
            is_masked = any("mask" in each.links for _, each in graph.upwards(sampler, _LATENTS))
            found.kind = OperationKind.INPAINT if is_masked else OperationKind.IMAGE_TO_IMAGE
            if strength is not None:
                found.take_strength(strength, "denoise")
            return
        if not node.links.keys() & set(_LATENTS) and {"width", "height"} <= node.links.keys() | node.values.keys():
            graph.used.add(node_id)
            found.take_size(*(graph.value(node_id, (side, "value")) for side in ("width", "height")))
            if node.values.get("batch_size", 1) != 1:
                found.leave_out("batch_size", node.values["batch_size"], "The picture may be another one of the batch.")
            break
        if node.kind in _ENCODERS:
            graph.used.add(node_id)
    if strength not in (None, 1):
        found.leave_out("denoise", strength, "It belongs to a second pass, which there is none of here.")


def _file_name(path: Any) -> Any:
    """Returns a file's name without its folders; anything else as it is."""
    return path.replace("\\", "/").rpartition("/")[2] if isinstance(path, str) else path


def _nodes_as_run(graph: Mapping[str, Any]) -> dict[str, _Node]:
    """Reads {"3": {"class_type": "KSampler", "inputs": {"seed": 1, "model": ["4", 0]}}}."""
    nodes: dict[str, _Node] = {}
    for node_id, entry in _bounded(graph.items()):
        if not isinstance(entry, dict) or not isinstance(entry.get("inputs"), dict):
            continue
        node = _Node(_kind(entry.get("class_type")))
        for name, value in entry["inputs"].items():
            if _is_link(value):
                node.links[name] = str(value[0])
            else:
                node.values[name] = value
        nodes[node_id] = node
    return nodes


def _nodes_as_drawn(workflow: Mapping[str, Any]) -> dict[str, _Node]:
    """Reads {"nodes": [{"id": 3, "type": "KSampler", "inputs": [...], "widgets_values": [...]}], "links": [...]}."""
    sources = {
        link[0]: str(link[1])
        for link in _list(workflow.get("links"))
        if isinstance(link, list) and len(link) >= 2 and isinstance(link[0], int)  # noqa: PLR2004 - id, node
    }
    nodes: dict[str, _Node] = {}
    for entry in _bounded(_list(workflow.get("nodes"))):
        if not isinstance(entry, dict):
            continue
        node = _Node(_kind(entry.get("type")))
        values = entry.get("widgets_values")
        if isinstance(values, dict):
            node.values.update(values)
        else:
            names = _DRAWN_VALUES.get(node.kind, ())
            node.values.update({name: value for name, value in zip(names, _list(values), strict=False) if name})
        for each in _list(entry.get("inputs")):
            if isinstance(each, dict) and isinstance(each.get("link"), int) and each["link"] in sources:
                name = str(each.get("name"))
                node.links[name] = sources[each["link"]]
                node.values.pop(name, None)  # an input that was made of a value
        nodes[str(entry.get("id"))] = node
    return nodes


def _bounded(entries: Iterable[Any]) -> Iterator[Any]:
    for count, entry in enumerate(entries):
        if count >= _MOST_NODES:
            raise recipe_invalid("size", f"its graph has more than {_MOST_NODES} nodes")
        yield entry


def _is_link(value: object) -> bool:
    # Node and output. A node's id is text, or a number in old graphs.
    return (
        isinstance(value, list)
        and len(value) == 2  # noqa: PLR2004
        and isinstance(value[0], str | int)
        and isinstance(value[1], int)
    )


def _kind(name: object) -> str:
    return name[:100] if isinstance(name, str) else "node"


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
