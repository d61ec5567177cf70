"""What prompts hold beside words: LoRAs are taken out, other tools' notation is refused by name, prose is left alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svc_common.errors import Reason, ServiceError
from svc_common.prompts import escaped
from svc_generation.domain.prompts import LoraTag, ReadPrompt, lora_model_ids, read_prompt, refuse_notation

FIELD = "text_to_image.prompt"


@pytest.mark.parametrize(
    ("prompt", "text", "loras"),
    [
        ("a red circle <lora:ink-lines:0.8>", "a red circle", [("ink-lines", 0.8)]),
        ("<lora:ink-lines:1> a red circle", "a red circle", [("ink-lines", 1.0)]),
        ("a <lora:one> red <LORA: two :-.5>, circle", "a red, circle", [("one", None), ("two", -0.5)]),
        ("a circle <lora:Ink_Lines v2.safetensors:1.2>", "a circle", [("Ink_Lines v2.safetensors", 1.2)]),
    ],
)
def test_loras_are_taken_out_of_a_prompt(prompt: str, text: str, loras: list[tuple[str, float | None]]) -> None:
    assert read_prompt(prompt, FIELD) == ReadPrompt(text, tuple(LoraTag(*lora) for lora in loras))


@pytest.mark.parametrize(
    ("prompt", "notation"),
    [
        ("a <lora:x:0.8:0.5> fox", "<lora:x:0.8:0.5>"),
        ("a <lora:x:high> fox", "<lora:x:high>"),
        ("a <lora:x fox", "<lora:x fox"),
        ("a <lora::1> fox", "<lora::1>"),
        ("a <lyco:x:1> fox", "<lyco:x:1>"),
        ("a <hypernet:x:1> fox", "<hypernet:x:1>"),
        ("a <embedding:x> fox", "<embedding:x>"),
        ("a embedding:easynegative fox", "embedding:easynegative"),
        ("a <wildcard:animal>", "<wildcard:animal>"),
        ("a __animal__ on grass", "__animal__"),
        ("a [cat:dog:0.5]", "[cat:dog:0.5]"),
        ("a [cat:10]", "[cat:10]"),
        ("a [cat::0.5]", "[cat::0.5]"),
        ("a [cat|dog]", "[cat|dog]"),
        ("a {cat|dog}", "{cat|dog}"),
        ("a cat BREAK a dog", "BREAK"),
        ("a cat AND a dog", "AND"),
        ("a (cat)++ on grass", ")++"),
        ("a cat++ on grass", "++"),
        ('("a cat", "a dog").blend(0.5, 0.5)', ".blend("),
        ("a cat::2 and a dog", "t::2"),
        ("a cat --ar 16:9", "--ar 16:9"),
        ("a cat --no dogs", "--no dogs"),
    ],
)
def test_other_tools_notation_is_refused_by_name_with_what_to_write(prompt: str, notation: str) -> None:
    for refuse in (read_prompt, refuse_notation):
        with pytest.raises(ServiceError) as refused:
            refuse(prompt, FIELD)
        assert refused.value.reason is Reason.PROMPT_NOTATION_UNSUPPORTED
        assert refused.value.metadata["notation"].startswith(notation)
        assert refused.value.violations[0].field == FIELD
        assert "backslash" in refused.value.message


@pytest.mark.parametrize(
    "prompt",
    [
        "a fox (16:9), at 12:30, John 3:16",
        "a < b and b > a",
        "I <3 foxes",
        "a stage direction [laughs]",
        'a page of {"json": 1}',
        "C++ on a T-shirt",
        "well - known -- it is",
        "rock & roll and BREAKING news, an ANDROID",
        "A CAT AND A DOG",
        "snake_case and __ underscores",
        "a ratio of [16:9]",
        "(red:1.3) (fox) [dim] {light}",
    ],
)
def test_prose_and_weights_are_left_alone(prompt: str) -> None:
    assert read_prompt(prompt, FIELD) == ReadPrompt(prompt)
    refuse_notation(prompt, FIELD)


def test_lora_in_a_negative_prompt_is_refused() -> None:
    with pytest.raises(ServiceError) as refused:
        refuse_notation("blur <lora:x:1>", "text_to_image.negative_prompt")
    assert refused.value.reason is Reason.PROMPT_NOTATION_UNSUPPORTED
    assert "`loras`" in refused.value.message


@pytest.mark.parametrize(("prompt", "said"), [("<lora:x:5> a fox", "from -4 to 4"), ("<lora:x:1>", "beside LoRAs")])
def test_lora_that_can_t_be_is_refused(prompt: str, said: str) -> None:
    with pytest.raises(ServiceError, match=said) as refused:
        read_prompt(prompt, FIELD)
    assert refused.value.reason is Reason.INVALID_FIELD


def test_names_of_loras_mean_ids_of_models() -> None:
    assert lora_model_ids("ink-lines") == ("ink-lines",)
    assert lora_model_ids("Ink_Lines v2.safetensors") == ("ink-lines-v2",)


@settings(deadline=None)
@given(st.text(alphabet="aAND BREK<>lora:[]{}()|+-_.1\\", max_size=40))
def test_signs_behind_a_backslash_are_never_notation(text: str) -> None:
    plain = escaped(text.replace("_", "").replace(".", "").replace("AND", "").replace("BREAK", "").replace("ADD", ""))
    assert read_prompt(plain, FIELD) == ReadPrompt(plain)
