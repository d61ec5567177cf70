"""What pictures tell of how they were made: our own recipes, those of other tools, and whatever else people find in theirs."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pingvas.vocabulary import Operation as OperationKind

from svc_common.errors import Reason, ServiceError
from svc_generation.domain.recipes.comfyui import read_comfyui
from svc_generation.domain.recipes.findings import Findings, Origin, RemarkKind
from svc_generation.domain.recipes.json_text import MOST_LEVELS
from svc_generation.domain.recipes.reading import read_recipe
from svc_generation.domain.recipes.samplers import sampler_of
from tests.factories.noted import (
    A1111_PARAMETERS,
    COMFYUI_GRAPH,
    INVOKEAI_METADATA,
    comfyui_file,
    commented,
    noted_png,
)
from tests.factories.pictures import picture_bytes

OWN: dict[str, Any] = {
    "format": "pingvas-recipe/1",
    "operation": "text_to_image",
    "model": {"model_id": "m", "revision": "7", "family": "tiny", "files": {"unet/w.safetensors": "ab" * 32}},
    "loras": [
        {"model_id": "ink", "revision": "2", "family": "tiny", "files": {}, "weight": -0.5, "applied_modules": 3}
    ],
    "prompt": "a fox, „blue“ 🚤",
    "negative_prompt": "fog",
    "width_px": 64,
    "height_px": 72,
    "step_count": 4,
    "guidance_scale": 0.0,
    "seed": "9007199254740991",
    "seed_bits": 53,
    "image_index": 1,
    "scheduler": "euler",
    "device": "cpu",
    "libraries": {"torch": "2.13.0"},
}


def own(**changes: object) -> Findings:
    recipe = {name: value for name, value in (OWN | changes).items() if value is not ...}
    return read_recipe(noted_png(pingvas_recipe=json.dumps(recipe, ensure_ascii=False)))


def a1111(text: str) -> Findings:
    return read_recipe(noted_png(parameters=text))


def comfyui(**changes: Any) -> Findings:
    graph = {node: entry for node, entry in (COMFYUI_GRAPH | changes).items() if entry is not None}
    return read_recipe(noted_png(prompt=json.dumps(graph)))


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def cause_of(data: bytes) -> str:
    with pytest.raises(ServiceError) as refused:
        read_recipe(data)
    assert refused.value.reason is Reason.RECIPE_INVALID
    return refused.value.metadata["cause"]


def remarks(found: Findings, kind: RemarkKind) -> dict[str, str]:
    return {remark.part: remark.value for remark in found.all_remarks() if remark.kind is kind}


def left_out(found: Findings) -> dict[str, str]:
    return remarks(found, RemarkKind.LEFT_OUT)


def test_own_recipe_gives_every_parameter_back() -> None:
    found = own()
    assert (found.origin, found.kind) == (Origin.PINGVAS, OperationKind.TEXT_TO_IMAGE)
    assert (found.prompt, found.negative_prompt) == (OWN["prompt"], "fog")
    assert (found.width_px, found.height_px, found.step_count, found.guidance_scale) == (64, 72, 4, 0.0)
    assert (found.seed, found.scheduler) == (2**53 - 1, "euler")
    assert found.model is not None
    assert (found.model.name, found.model.files) == ("m", {"unet/w.safetensors": "ab" * 32})
    assert [(lora.name, lora.weight) for lora in found.loras] == [("ink", -0.5)]
    assert found.all_remarks() == []


def test_own_recipe_from_before_all_bits_of_a_seed_counted_has_the_seed_that_did() -> None:
    assert own(seed_bits=...).seed == (2**53 - 1) % 2**32


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("image_to_image", {"source_sha256": "12" * 32, "strength": 0.25}),
        ("inpaint", {"source_sha256": "12" * 32, "mask_sha256": "34" * 32, "strength": 0.5, "mask_feather_px": 0}),
        ("upscale", {"source_sha256": "12" * 32, "scale_factor": 4}),
    ],
)
def test_own_recipe_of_another_operation_says_what_it_was_made_from(operation: str, parameters: dict[str, Any]) -> None:
    found = own(operation=operation, **parameters)
    assert found.kind == operation
    assert {name: getattr(found, name) for name in parameters} == parameters


def test_own_recipe_of_a_later_release_is_refused_and_an_unknown_part_is_named() -> None:
    assert cause_of(noted_png(pingvas_recipe='{"format": "pingvas-recipe/2"}')) == "format"
    assert cause_of(noted_png(pingvas_recipe=json.dumps(OWN | {"operation": "dream"}))) == "format"
    assert left_out(own(style="noir")) == {"style": "noir"}


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("step_count", 151),
        ("step_count", "many"),
        ("step_count", True),
        ("guidance_scale", -1),
        ("guidance_scale", 1e999),
        ("guidance_scale", "NaN"),
        ("seed", "-1"),
        ("seed", "9" * 40),
        ("width_px", 1 << 40),
        ("width_px", None),
    ],
)
def test_value_that_no_job_can_have_is_left_out_with_a_remark(part: str, value: object) -> None:
    found = own(**{part: value})
    assert getattr(found, part) is None
    assert len(found.all_remarks()) == 1


def test_a1111_text_is_taken_apart() -> None:
    found = a1111(A1111_PARAMETERS)
    assert (found.origin, found.kind) == (Origin.A1111, OperationKind.TEXT_TO_IMAGE)
    assert found.prompt == "a heron, (blue:1.2)\nat dawn <lora:ink:0.8>"
    assert found.negative_prompt == "fog,\nrain"
    assert (found.step_count, found.guidance_scale, found.seed) == (20, 7.0, 4294967295)
    assert (found.width_px, found.height_px, found.scheduler) == (512, 768, "dpmpp_2m")
    assert found.model is not None
    assert found.model.name == "pingvas_tiny"
    assert left_out(found) == {
        "Model hash": "6ce0161689",
        "Clip skip": "2",
        "Lora hashes": "ink: 3e, chalk: 4f",
        "Hashes": '{"model": "6ce0161689", "vae": "c6"}',
    }
    assert remarks(found, RemarkKind.CHANGED) == {"Sampler": "DPM++ 2M Karras"}


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a1111_text_is_read_with_the_line_ends_of_every_system(newline: str) -> None:
    found = a1111(A1111_PARAMETERS.replace("\n", newline))
    assert (found.prompt, found.seed) == ("a heron, (blue:1.2)\nat dawn <lora:ink:0.8>", 4294967295)


@pytest.mark.parametrize(
    ("text", "prompt", "negative"),
    [
        ("Steps: 20, Seed: 5", "", ""),
        ("Negative prompt: fog\nSteps: 20, Seed: 5", "", "fog"),
        ("a heron\nSteps: 20, Seed: 5", "a heron", ""),
        ("a: b, c: d, e: f\nNegative prompt: x: 1\nSteps: 20, Seed: 5", "a: b, c: d, e: f", "x: 1"),
        ("a heron\n\n\nNegative prompt:\nSteps: 20, Seed: 5", "a heron", ""),
        ("Steps: carved in stone\nSteps: 20, Seed: 5", "Steps: carved in stone", ""),
        (
            "a heron\nNegative prompt: fog\nNegative prompt: twice\nSteps: 20, Seed: 5",
            "a heron",
            "fog\nNegative prompt: twice",
        ),
        ("a heron\nSampler: Euler, Seed: 5, Size: 64x64", "a heron", ""),
    ],
)
def test_a1111_text_of_odd_lines_is_cut_where_its_program_cuts_it(text: str, prompt: str, negative: str) -> None:
    found = a1111(text)
    assert (found.prompt, found.negative_prompt, found.seed) == (prompt, negative, 5)


def test_a1111_settings_with_odd_values_are_told_apart() -> None:
    found = a1111(
        'x\nSteps: 20, Note: "a, \\"b\\": c", , odd, Broken: "x, Seed: 5, Size: 9000x64, CFG scale: much, Seed resize: {'
    )
    assert (found.seed, found.step_count) == (5, 20)
    assert left_out(found) == {
        "Note": 'a, "b": c',
        "Broken": '"x',
        "Size": "9000 x 64",
        "CFG scale": "much",
        "Seed resize": "{",
    }


def test_a1111_text_behind_the_settings_is_named() -> None:
    found = a1111("x\nSteps: 20, Seed: 5\nTemplate: {a|b}\nmore")
    assert left_out(found) == {"text behind the settings": "Template: {a|b} more"}


def test_a1111_strength_tells_of_a_source_unless_there_was_a_second_pass() -> None:
    made = a1111("x\nSteps: 20, Seed: 5, Denoising strength: 0.4")
    assert (made.kind, made.strength) == (OperationKind.IMAGE_TO_IMAGE, 0.4)
    masked = a1111("x\nSteps: 20, Seed: 5, Denoising strength: 0.4, Mask blur: 4")
    assert masked.kind is OperationKind.INPAINT
    twice = a1111("x\nSteps: 20, Seed: 5, Denoising strength: 0.4, Hires upscale: 2")
    assert (twice.kind, twice.strength) == (OperationKind.TEXT_TO_IMAGE, None)
    assert left_out(twice) == {"Denoising strength": "0.4", "Hires upscale": "2"}


def test_a1111_text_is_found_in_the_comment_of_a_jpeg() -> None:
    found = read_recipe(commented("JPEG", b"UNICODE\0" + A1111_PARAMETERS.encode("utf-16-be")))
    assert found.seed == 4294967295


def test_guidance_of_a_distilled_model_counts_in_place_of_the_other() -> None:
    assert a1111("x\nSteps: 20, CFG scale: 1, Distilled CFG Scale: 3.5, Seed: 5").guidance_scale == 3.5


def test_invokeai_metadata_is_taken_apart() -> None:
    found = read_recipe(noted_png(invokeai_metadata=json.dumps(INVOKEAI_METADATA), invokeai_graph="{}", other="x"))
    assert (found.origin, found.kind, found.prompt, found.negative_prompt) == (
        Origin.INVOKEAI,
        OperationKind.TEXT_TO_IMAGE,
        "a heron",
        "fog",
    )
    assert (found.width_px, found.height_px, found.seed) == (512, 768, 4294967295)
    assert (found.step_count, found.guidance_scale, found.scheduler) == (30, 7.5, "dpmpp_2m")
    assert found.model is not None
    assert found.model.name == "Pingvas Tiny"
    assert [(lora.name, lora.weight) for lora in found.loras] == [("Ink", 0.75)]
    assert left_out(found) == {"clip_skip": "1", "note other": ""}
    assert remarks(found, RemarkKind.CHANGED) == {"scheduler": "dpmpp_2m_k"}


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("sdxl_img2img", OperationKind.IMAGE_TO_IMAGE),
        ("flux_inpaint", OperationKind.INPAINT),
        ("outpaint", OperationKind.INPAINT),
        ("sdxl_txt2img", OperationKind.TEXT_TO_IMAGE),
    ],
)
def test_invokeai_mode_says_the_operation(mode: str, kind: OperationKind) -> None:
    note = INVOKEAI_METADATA | {"generation_mode": mode, "strength": 0.4}
    found = read_recipe(noted_png(invokeai_metadata=json.dumps(note)))
    assert (found.kind, found.strength) == (kind, None if kind is OperationKind.TEXT_TO_IMAGE else 0.4)


def test_comfyui_graph_is_followed_up_its_links() -> None:
    found = comfyui()
    assert (found.origin, found.kind) == (Origin.COMFYUI, OperationKind.TEXT_TO_IMAGE)
    assert (found.prompt, found.negative_prompt) == ("a heron", "fog")
    assert (found.width_px, found.height_px, found.step_count, found.guidance_scale) == (512, 768, 25, 6.5)
    assert (found.seed, found.scheduler) == (2**53 - 1, "euler_a")
    assert found.model is not None
    assert found.model.name == "pingvas_tiny.safetensors"
    assert [(lora.name, lora.weight) for lora in found.loras] == [("ink.safetensors", 0.7)]
    assert left_out(found) == {"VAELoader": "vae_name: vae-ft-mse.safetensors"}
    assert remarks(found, RemarkKind.CHANGED) == {"seed": "18446744073709551615"}


def test_comfyui_picture_that_begins_with_another_one_is_image_to_image() -> None:
    sampler = node("KSampler", **COMFYUI_GRAPH["3"]["inputs"] | {"latent_image": ["30", 0], "denoise": 0.4})
    encode = node("VAEEncode", pixels=["31", 0], vae=["4", 2])
    found = comfyui(**{"3": sampler, "30": encode, "31": node("LoadImage", image="a.png"), "5": None, "20": None})
    assert (found.kind, found.strength, found.width_px) == (OperationKind.IMAGE_TO_IMAGE, 0.4, None)


def test_comfyui_second_pass_is_named_and_its_first_one_too() -> None:
    second = node("KSampler", **COMFYUI_GRAPH["3"]["inputs"] | {"latent_image": ["40", 0], "denoise": 0.5, "seed": 7})
    grown = node("LatentUpscale", samples=["3", 0], width=1024, height=1536, upscale_method="bicubic")
    decode = node("VAEDecode", samples=["41", 0], vae=["4", 2])
    found = comfyui(**{"41": second, "40": grown, "8": decode})
    assert (found.seed, found.kind, found.width_px) == (7, OperationKind.TEXT_TO_IMAGE, 512)
    assert left_out(found).keys() >= {"KSampler", "LatentUpscale", "denoise"}


def test_comfyui_graph_of_a_distilled_model_is_followed_through_its_guider() -> None:
    graph = {
        "1": node("SaveImage", images=["2", 0]),
        "2": node("VAEDecode", samples=["3", 0]),
        "3": node(
            "SamplerCustomAdvanced",
            noise=["4", 0],
            guider=["5", 0],
            sampler=["6", 0],
            sigmas=["7", 0],
            latent_image=["8", 0],
        ),
        "4": node("RandomNoise", noise_seed=11),
        "5": node("BasicGuider", model=["9", 0], conditioning=["10", 0]),
        "6": node("KSamplerSelect", sampler_name="euler"),
        "7": node("BasicScheduler", scheduler="simple", steps=28, denoise=1, model=["9", 0]),
        "8": node("EmptySD3LatentImage", width=1024, height=768, batch_size=2),
        "9": node("UNETLoader", unet_name="flux1-dev.safetensors"),
        "10": node("FluxGuidance", guidance=3.5, conditioning=["11", 0]),
        "11": node("CLIPTextEncode", text="a heron", clip=["12", 0]),
        "12": node("DualCLIPLoader", clip_name1="t5.safetensors"),
    }
    found = read_recipe(noted_png(prompt=json.dumps(graph)))
    assert (found.prompt, found.negative_prompt, found.seed, found.step_count) == ("a heron", "", 11, 28)
    assert (found.guidance_scale, found.scheduler, found.width_px, found.height_px) == (3.5, "euler", 1024, 768)
    assert found.model is not None
    assert found.model.name == "flux1-dev.safetensors"
    assert left_out(found).keys() == {"batch_size", "DualCLIPLoader"}


def test_comfyui_text_that_means_none_is_no_negative_prompt() -> None:
    sampler = node("KSampler", **COMFYUI_GRAPH["3"]["inputs"] | {"negative": ["50", 0]})
    zero = node("ConditioningZeroOut", conditioning=["6", 0])
    assert comfyui(**{"3": sampler, "50": zero, "7": None}).negative_prompt == ""


def test_comfyui_graph_in_a_circle_has_an_end() -> None:
    found = comfyui(**{"4": node("CheckpointLoaderSimple", model=["10", 0])})
    assert found.model is None


WORKFLOW: dict[str, Any] = {
    "nodes": [
        {"id": 9, "type": "SaveImage", "inputs": [{"name": "images", "link": 5}], "widgets_values": ["ComfyUI"]},
        {"id": 8, "type": "VAEDecode", "inputs": [{"name": "samples", "link": 4}]},
        {
            "id": 3,
            "type": "KSampler",
            "inputs": [
                {"name": "model", "link": 1},
                {"name": "positive", "link": 2},
                {"name": "negative", "link": None},
                {"name": "latent_image", "link": 3},
            ],
            "widgets_values": [5, "randomize", 20, 8, "euler", "karras", 1],
        },
        {"id": 4, "type": "CheckpointLoaderSimple", "widgets_values": ["sd.safetensors"]},
        {"id": 6, "type": "CLIPTextEncode", "inputs": [{"name": "clip", "link": 6}], "widgets_values": ["a heron"]},
        {"id": 5, "type": "EmptyLatentImage", "widgets_values": [512, 256, 1]},
    ],
    "links": [
        [1, 4, 0, 3, 0, "MODEL"],
        [2, 6, 0, 3, 1, "CONDITIONING"],
        [3, 5, 0, 3, 3, "LATENT"],
        [4, 3, 0, 8, 0, "LATENT"],
        [5, 8, 0, 9, 0, "IMAGE"],
        [6, 4, 1, 6, 0, "CLIP"],
    ],
}


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_comfyui_graph_as_it_was_drawn_is_read_where_there_is_no_other(kind: str) -> None:
    for data in (noted_png(workflow=json.dumps(WORKFLOW)), comfyui_file(kind, "", json.dumps(WORKFLOW))):
        found = read_recipe(data)
        assert (found.prompt, found.seed, found.step_count, found.guidance_scale) == ("a heron", 5, 20, 8.0)
        assert (found.width_px, found.height_px, found.scheduler) == (512, 256, "euler")
        assert found.model is not None
        assert found.model.name == "sd.safetensors"


def test_graph_of_a_mebibyte_is_read() -> None:
    ballast = {str(1000 + place): node("Note", text="x" * 500) for place in range(2000)}
    assert len(json.dumps(COMFYUI_GRAPH | ballast)) > 2**20
    assert comfyui(**ballast).seed == 2**53 - 1


def test_graph_of_too_many_nodes_is_refused_and_too_many_remarks_are_counted() -> None:
    assert cause_of(noted_png(prompt=json.dumps({str(place): node("X") for place in range(5001)}))) == "size"
    found = comfyui(**{str(1000 + place): node("Odd", a=1) for place in range(300)})
    told = found.all_remarks()
    assert len(told) == 101
    assert told[-1].part == "202 more parts"  # the VAE and the seed are told of, too
    found.need("source", "", "Name it.")
    assert "source" in remarks(found, RemarkKind.NEEDED)


def test_our_own_recipe_comes_before_those_of_others_and_theirs_are_named() -> None:
    found = read_recipe(noted_png(pingvas_recipe=json.dumps(OWN), parameters=A1111_PARAMETERS, Software="x"))
    assert found.origin is Origin.PINGVAS
    assert left_out(found).keys() == {"note Software", "note parameters"}


@pytest.mark.parametrize(
    ("data", "cause", "word"),
    [
        (picture_bytes(), "none", "no notes at all"),
        (picture_bytes(form="WEBP"), "none", "no notes at all"),
        (noted_png(Software="GIMP", Comment="hello"), "none", "(Software, Comment)"),
        (noted_png(parameters="only words"), "none", "(parameters)"),
        (noted_png(parameters='{"sui_image_params": {}}'), "none", "(parameters)"),
        (noted_png(prompt="{}"), "none", "(prompt)"),
        (noted_png(prompt="a cat"), "json", "isn't valid JSON"),
        (noted_png(prompt="[1]"), "json", "isn't a JSON object"),
        (noted_png(pingvas_recipe="{"), "json", "isn't valid JSON"),
        (noted_png(invokeai_metadata='{"a": "\\'), "json", "isn't valid JSON"),
        (noted_png(workflow='{"a":' * (MOST_LEVELS + 1)), "depth", "more than 64 levels"),
        (noted_png(prompt="[" * 1_000_000), "depth", "more than 64 levels"),
        (noted_png(prompt='{"a": ' + "9" * 5000 + "}"), "json", "isn't valid JSON"),
        (b"\xff\xd8\xff\xe0 cut", "none", "no notes at all"),
        (b"GIF89a", "type", "neither PNG nor JPEG nor WebP"),
    ],
)
def test_refusal_says_what_is_wrong_and_what_to_do(data: bytes, cause: str, word: str) -> None:
    with pytest.raises(ServiceError) as refused:
        read_recipe(data)
    assert refused.value.metadata == {"cause": cause}
    assert word in refused.value.message
    assert refused.value.message.endswith(("yourself.", "use the original file."))


@pytest.mark.parametrize("bad", ["a\\u0000b", "\\ud800", "x\\udfffy"])
def test_text_that_can_not_be_sent_is_refused(bad: str) -> None:
    assert cause_of(noted_png(invokeai_metadata=f'{{"positive_prompt": "{bad}"}}')) == "text"


def test_odd_names_in_remarks_can_be_sent() -> None:
    found = read_recipe(noted_png(invokeai_metadata='{"\\ud800\\u0000": "\\udfff", "scheduler": "\\ud800"}'))
    for remark in found.all_remarks():
        f"{remark.part}{remark.value}{remark.message}".encode()


def test_long_prompt_is_cut_with_a_remark() -> None:
    found = own(prompt="x" * 2001)
    assert found.prompt == "x" * 2000
    assert remarks(found, RemarkKind.CHANGED)["prompt"].endswith("…")


@pytest.mark.parametrize(
    ("name", "spacing", "scheduler", "is_own"),
    [
        ("Euler a", "", "euler_a", True),
        ("k_euler_a", "", "euler_a", True),
        ("euler_k", "", "euler", False),
        ("DPM++ 2M Karras", "", "dpmpp_2m", False),
        ("DPM++ 2M", "Automatic", "dpmpp_2m", True),
        ("dpmpp_2m", "karras", "dpmpp_2m", False),
        ("uni_pc", "normal", "unipc", True),
        ("LCM", "", "lcm", True),
        ("DPM++ 2M SDE", "", "", True),
        ("heun", "", "", True),
        ("", "", "", True),
    ],
)
def test_sampler_is_taken_for_the_scheduler_that_corresponds(
    name: str, spacing: str, scheduler: str, is_own: bool
) -> None:
    sampler = sampler_of(name, spacing)
    assert (sampler.scheduler, sampler.has_own_spacing) == (scheduler, is_own)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(sorted(COMFYUI_GRAPH)), st.sampled_from(["inputs", "class_type"]), _JSON)
def test_graph_with_anything_in_any_place_is_read_or_refused(place: str, part: str, value: Any) -> None:
    graph = COMFYUI_GRAPH | {place: COMFYUI_GRAPH[place] | {part: value}}
    for read in (json.dumps(graph), json.dumps(value if isinstance(value, dict) else {})):
        _read_or_refused(lambda read=read: read_comfyui(read, None))


@given(_JSON, st.sampled_from(sorted(OWN)))
def test_own_recipe_with_anything_in_any_place_is_read_or_refused(value: Any, part: str) -> None:
    _read_or_refused(lambda: read_recipe(noted_png(pingvas_recipe=json.dumps(OWN | {part: value}))))


@given(st.text(), st.text())
def test_text_of_settings_with_anything_in_it_is_read_or_refused(before: str, behind: str) -> None:
    text = f"{before}\nSteps: 2, {behind}".encode("utf-8", "ignore").decode().replace("\0", "")
    _read_or_refused(lambda: a1111(text))


def _read_or_refused(read: Any) -> None:
    try:
        found = read()
    except ServiceError as refusal:
        reason = refusal.reason
    else:
        reason = Reason.RECIPE_INVALID
        for remark in found.all_remarks() if found else ():
            f"{remark.part}{remark.value}{remark.message}".encode()
    assert reason is Reason.RECIPE_INVALID
