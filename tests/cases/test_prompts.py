"""What people copy into prompts from other tools: ratios, LoRA tags, notation that would be drawn as words.

Reported of other programs: numbers behind colons (AUTOMATIC1111/stable-diffusion-webui#15767), LoRA tags that stay in the
prompt (leejet/stable-diffusion.cpp#1231, AUTOMATIC1111/stable-diffusion-webui#7984).
"""

import io
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.tiny_models import save_pipeline, tiny_pipeline
from svc_common.errors import Reason
from tests.cases.pushed_models import pushed, write_manifest
from tests.e2e.stage import Person, Stage, refusal_of
from tests.factories.tiny_loras import tiny_lora


@pytest.fixture(scope="module")
def person(studio: Stage) -> Person:
    return studio.person("enterprise")


def drawn(person: Person, prompt: str, **fields: object) -> NDArray[np.uint8]:
    job = person.end_of(person.create(prompt, **{"seed": 7, **fields}).job_id)
    answer = httpx.get(job.images[0].url)
    return np.asarray(Image.open(io.BytesIO(answer.raise_for_status().content)).convert("RGB"))


@pytest.mark.parametrize(
    ("prompt", "plain"), [("a red circle (16:9)", r"a red circle \(16:9\)"), ("(x:9)", r"\(x:9\)")]
)
def test_number_that_is_no_weight_is_drawn_as_text(person: Person, prompt: str, plain: str) -> None:
    assert np.array_equal(drawn(person, prompt), drawn(person, plain))


def test_weight_still_weighs(person: Person) -> None:
    assert not np.array_equal(drawn(person, "a (red:1.5) circle"), drawn(person, "a red circle"))


def test_lora_tag_does_what_loras_does(studio: Stage, person: Person, tmp_path: Path) -> None:
    model = tmp_path / "notation-model"
    model.mkdir()
    save_pipeline(tiny_pipeline("sd15"), model)
    write_manifest(model, "sd15")
    spec = tiny_lora(tmp_path / "loras", "sd15", parts=("unet",))
    lora = tmp_path / "notation-lora"
    (tmp_path / "loras" / spec.model_id / "1").rename(lora)
    write_manifest(lora, "sd15", is_lora=True)
    model_id, lora_id = pushed(studio, person, model), pushed(studio, person, lora)
    by_field = drawn(person, "a red circle", model_id=model_id, loras=[{"model_id": lora_id, "weight": 0.8}])
    by_tag = drawn(person, "a red circle <lora:Notation_LoRA:0.8>", model_id=model_id)
    assert np.array_equal(by_tag, by_field)
    assert not np.array_equal(by_field, drawn(person, "a red circle", model_id=model_id))


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("a red circle <lora:nobody-has-this:1>", Reason.MODEL_NOT_FOUND),
        ("a [cat:dog:0.5]", Reason.PROMPT_NOTATION_UNSUPPORTED),
        ("a cat BREAK a dog", Reason.PROMPT_NOTATION_UNSUPPORTED),
        ("embedding:easynegative", Reason.PROMPT_NOTATION_UNSUPPORTED),
    ],
)
def test_what_can_t_be_done_is_refused_before_anything_is_held(person: Person, prompt: str, reason: Reason) -> None:
    before = person.balance()
    refused = refusal_of(lambda: person.create(prompt))
    assert refused.reason is reason
    assert [violation.field for violation in refused.violations] == ["text_to_image.prompt"]
    assert person.balance() == before
