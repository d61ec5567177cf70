"""Prompts through true text encoders: exactly as diffusers has them, any length, weights, and only once."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from gpu_worker.models.files import ModelSpec
from gpu_worker.render.families import FAMILIES
from gpu_worker.render.families.embedding_cache import Embeddings
from gpu_worker.render.pipeline import DiffusersPipeline
from tests.factories.renders import draw, render_spec

ModelOf = Callable[[str], ModelSpec]
LONG = "a red fox in the snow beside a frozen lake under a pale sun, seen from far away, " * 3  # 3 windows of letters


def encoded(pipeline: DiffusersPipeline, model: ModelSpec, **changes: Any) -> Embeddings:
    with torch.inference_mode():
        return FAMILIES[model.family].encode(pipeline._models.get(model).pipe, render_spec(model, **changes))


def embeds(pipeline: DiffusersPipeline, model: ModelSpec, prompt: str) -> torch.Tensor:
    value = encoded(pipeline, model, prompt=prompt)["prompt_embeds"]
    assert isinstance(value, torch.Tensor)
    return value


@pytest.mark.parametrize("family", ["tiny", "sd15"])
@pytest.mark.parametrize("prompt", ["", "a red fox, in the snow", "눈 속의 붉은 여우"])
def test_short_prompt_is_encoded_as_diffusers_does(
    model_of: ModelOf, pipeline: DiffusersPipeline, family: str, prompt: str
) -> None:
    model = model_of(family)
    ours = encoded(pipeline, model, prompt=prompt)
    with torch.inference_mode():
        theirs = pipeline._models.get(model).pipe.encode_prompt(
            prompt, "cpu", 1, do_classifier_free_guidance=True, negative_prompt="blue"
        )
    assert torch.equal(ours["prompt_embeds"], theirs[0])
    assert torch.equal(ours["negative_prompt_embeds"], theirs[1])


@pytest.mark.parametrize("negative_prompt", ["", "blue"])
def test_short_prompt_is_encoded_as_diffusers_does_with_both_encoders_of_xl(
    model_of: ModelOf, pipeline: DiffusersPipeline, negative_prompt: str
) -> None:
    model = model_of("sdxl")
    ours = encoded(pipeline, model, negative_prompt=negative_prompt)
    with torch.inference_mode():
        theirs = pipeline._models.get(model).pipe.encode_prompt(
            "a red fox in the snow", device="cpu", negative_prompt=negative_prompt or None
        )
    assert all(torch.equal(mine, other) for mine, other in zip(ours.values(), theirs, strict=True))
    assert list(ours) == [
        "prompt_embeds",
        "negative_prompt_embeds",
        "pooled_prompt_embeds",
        "negative_pooled_prompt_embeds",
    ]


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_weight_moves_its_words_away_from_the_empty_prompt_and_no_others(
    model_of: ModelOf, pipeline: DiffusersPipeline, family: str
) -> None:
    model = model_of(family)
    plain, empty = (embeds(pipeline, model, prompt) for prompt in ("a red fox", ""))
    weighted = embeds(pipeline, model, "a (red:1.5) fox")
    # One token a letter, after the token that begins: a, r, e, d, f, o, x.
    red = [2, 3, 4]
    others = [index for index in range(77) if index not in red]
    assert torch.equal(weighted[:, others], plain[:, others])
    assert torch.allclose(weighted[:, red] - empty[:, red], 1.5 * (plain - empty)[:, red], atol=1e-5)
    assert torch.equal(embeds(pipeline, model, "a (red:1.0) fox"), plain)
    assert torch.equal(embeds(pipeline, model, "a (red:0) fox")[:, red], empty[:, red])


@pytest.mark.parametrize("family", ["tiny", "sd15", "sdxl"])
def test_every_word_of_a_long_prompt_counts(model_of: ModelOf, pipeline: DiffusersPipeline, family: str) -> None:
    model = model_of(family)
    long = encoded(pipeline, model, prompt=LONG)
    assert long["prompt_embeds"].shape[1] == 3 * 77
    assert long["negative_prompt_embeds"].shape == long["prompt_embeds"].shape
    spec = render_spec(model, prompt=LONG)
    other_end = replace(spec, prompt=LONG.rstrip(", ") + "!")
    assert not np.array_equal(draw(pipeline, other_end), draw(pipeline, spec))


def test_long_negative_prompt_lengthens_the_prompt(model_of: ModelOf, pipeline: DiffusersPipeline) -> None:
    model = model_of("sd15")
    both = encoded(pipeline, model, negative_prompt=LONG)
    assert both["prompt_embeds"].shape == both["negative_prompt_embeds"].shape
    draw(pipeline, render_spec(model, negative_prompt=LONG))


@pytest.mark.parametrize("family", ["flux", "zimage"])
def test_weights_are_taken_out_where_encoders_read_language(
    model_of: ModelOf, pipeline: DiffusersPipeline, family: str
) -> None:
    spec = render_spec(model_of(family), prompt=r"a red \(fox\)")
    weighted = replace(spec, prompt=r"a (red:1.5) \(fox\)")
    assert np.array_equal(draw(pipeline, weighted), draw(pipeline, spec))


def test_repeated_prompt_is_not_encoded_again(model_of: ModelOf, own_pipeline: DiffusersPipeline) -> None:
    model = model_of("sd15")
    spec = render_spec(model, step_count=1)
    calls: list[int] = []
    encoder = own_pipeline._models.get(model).pipe.text_encoder
    encoder.register_forward_pre_hook(lambda _module, _inputs: calls.append(1))
    first = draw(own_pipeline, spec)
    assert len(calls) == 2
    assert np.array_equal(draw(own_pipeline, spec), first)
    assert len(calls) == 2
    draw(own_pipeline, replace(spec, negative_prompt="green"))
    assert len(calls) == 4
    draw(own_pipeline, replace(spec, guidance_scale=1.0))
    assert len(calls) == 5
    draw(own_pipeline, replace(spec, guidance_scale=1.0, negative_prompt="green", seed=8))
    assert len(calls) == 5
