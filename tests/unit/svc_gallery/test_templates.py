"""How templates become prompts, and that those of the platform are whole in both languages."""

from collections.abc import Sequence

import pytest
from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st
from pingvas.gallery.v1 import template_pb2
from pingvas.generation.v1 import job_pb2

from svc_common.errors import Reason, ServiceError
from svc_gallery.domain.templates import (
    TEMPLATES_OF_AN_ACCOUNT,
    Texts,
    Variable,
    add_style,
    check_content,
    check_template_room,
    fill_template,
)
from svc_gallery.messages.templates import clean_content, texts_of, variables_of
from svc_gallery.servicer.shipped_templates import ShippedTemplates
from svc_generation.domain.sizes import SIZE_PRESETS

SHIPPED = ShippedTemplates.load()
MARKETING = (
    "product-photo",
    "web-banner",
    "story",
    "video-thumbnail",
    "logo-idea",
    "poster",
    "food",
    "interior",
    "portrait-photo",
    "seasonal",
)
CUP = Texts("photo of {{product}} on {{ ground }}", "blurry, {{ product }}")
VARIABLES = (Variable("product", "", ()), Variable("ground", "wood", ("wood", "stone")))


def filled(given_values: Sequence[tuple[str, str]] = (("product", "a cup"),), own: Texts | None = None) -> Texts:
    return fill_template(CUP, VARIABLES, given_values, own or Texts("", ""))


def faults_of(refused: ServiceError) -> dict[str, str]:
    assert refused.reason is Reason.INVALID_FIELD
    return {fault.field: fault.description for fault in refused.violations}


def test_variables_have_the_values_that_are_given_and_else_their_defaults() -> None:
    assert filled() == Texts("photo of a cup on wood", "blurry, a cup")
    assert filled([("ground", " stone "), ("product", "컵")]).prompt == "photo of 컵 on stone"
    assert filled([("ground", "  "), ("product", "a cup")]).prompt == "photo of a cup on wood"


def test_own_words_stand_where_the_template_says_and_else_behind_it() -> None:
    own = Texts(" at dawn ", "fog")
    assert filled(own=own) == Texts("photo of a cup on wood, at dawn", "fog, blurry, a cup")
    assert fill_template(Texts("{{prompt}}, sharp", ""), (), (), own) == Texts("at dawn, sharp", "fog")
    with pytest.raises(ServiceError) as refused:
        fill_template(Texts("{{prompt}}, sharp", ""), (), (), Texts("  ", ""))
    assert set(faults_of(refused.value)) == {"prompt"}


def test_style_is_put_around_the_prompt() -> None:
    style = Texts("oil painting of {{prompt}}, thick", "photo")
    assert add_style(style, Texts("a heron ", "fog")) == Texts("oil painting of a heron, thick", "fog, photo")


@given(st.text(max_size=50).filter(lambda text: text.strip()))
def test_value_is_put_in_as_it_is(value: str) -> None:
    assert filled([("product", value)]).prompt == f"photo of {value.strip()} on wood"


def test_braces_within_a_value_are_text() -> None:
    assert filled([("product", "{{ground}} {{product}}")]).prompt == "photo of {{ground}} {{product}} on wood"


def test_every_value_that_cannot_be_is_named_at_once() -> None:
    with pytest.raises(ServiceError) as refused:
        filled([("ground", "sand"), ("colour", "red")])
    assert faults_of(refused.value) == {
        "values.colour": "isn't a variable of this template",
        "values.product": "must be given",
        "values.ground": "must be one of: wood; stone",
    }


@pytest.mark.parametrize(
    ("texts", "variables", "is_style", "field"),
    [
        (Texts("  ", ""), (), False, "content.prompt"),
        (Texts("{{who}}", ""), (), False, "content.prompt"),
        (Texts("x", "{{who}}"), (), False, "content.negative_prompt"),
        (Texts("{{prompt}}", "{{prompt}}"), (), False, "content.negative_prompt"),
        (Texts("x", ""), (Variable("a", "", ()),), False, "content.variables[0].name"),
        (Texts("{{a}}", ""), (Variable("a", "", ()), Variable("a", "", ())), False, "content.variables[1].name"),
        (Texts("{{prompt}}", ""), (Variable("prompt", "", ()),), False, "content.variables[0].name"),
        (Texts("{{a}}", ""), (Variable("a", "c", ("b",)),), False, "content.variables[0].default_value"),
        (Texts("oil painting", ""), (), True, "content.prompt"),
        (Texts("{{prompt}} {{prompt}}", ""), (), True, "content.prompt"),
        (Texts("{{prompt}} {{a}}", ""), (Variable("a", "", ()),), True, "content.variables"),
    ],
)
def test_template_that_could_not_be_filled_is_refused_by_field(
    texts: Texts, variables: Sequence[Variable], is_style: bool, field: str
) -> None:
    with pytest.raises(ServiceError) as refused:
        check_content(texts, variables, is_style=is_style)
    assert set(faults_of(refused.value)) == {field}


def test_account_has_room_for_so_many_templates() -> None:
    check_template_room(TEMPLATES_OF_AN_ACCOUNT)
    with pytest.raises(ServiceError) as refused:
        check_template_room(TEMPLATES_OF_AN_ACCOUNT + 1)
    assert (refused.value.reason, refused.value.metadata) == (Reason.TOO_MANY_TEMPLATES, {"limit": "500"})


@pytest.mark.parametrize("language", ["en", "ko"])
def test_templates_of_the_platform_keep_the_rules_of_templates(language: str) -> None:
    listed = SHIPPED.list(language)
    assert [template.template_id for template in listed if template.template_id in MARKETING] == list(MARKETING)
    for template in listed:
        content = clean_content(template.content)
        assert content.size_preset in {"", *SIZE_PRESETS}
        assert content.name
        assert content.description
        assert content.category
        given_values = [
            (each.name, "a teapot") for each in content.variables if not (each.default_value or each.choices)
        ]
        texts = fill_template(texts_of(content), variables_of(content), given_values, Texts("a heron", ""))
        assert "{{" not in texts.prompt + texts.negative_prompt


def test_templates_of_the_platform_differ_by_language_in_what_people_read_only() -> None:
    for english, korean in zip(SHIPPED.list("en"), SHIPPED.list("ko"), strict=True):
        assert english.template_id == korean.template_id
        assert (english.content.prompt, english.content.negative_prompt) == (
            korean.content.prompt,
            korean.content.negative_prompt,
        )
        assert any("가" <= letter <= "힣" for letter in korean.content.name)
        for variable in korean.content.variables:
            assert any("가" <= letter <= "힣" for letter in variable.label)
            assert all(choice.label for choice in variable.choices)


@pytest.mark.parametrize(
    "field",
    [
        template_pb2.TemplateContent.DESCRIPTOR.fields_by_name["size_preset"],
        job_pb2.Preset.DESCRIPTOR.fields_by_name["size_preset"],
    ],
    ids=lambda field: field.full_name,
)
def test_contract_lists_the_sizes_that_there_are(field: FieldDescriptor) -> None:
    listed = field.GetOptions().Extensions[validate_pb2.field].string
    assert list(getattr(listed, "in")) == ["", *SIZE_PRESETS]


def test_sizes_are_whole_blocks_that_cover_their_place() -> None:
    for name, preset in SIZE_PRESETS.items():
        for side, place in (
            (preset.size.width_px, preset.place.width_px),
            (preset.size.height_px, preset.place.height_px),
        ):
            assert side % 8 == 0, name
            assert place <= side < place + 8
    assert (SIZE_PRESETS["blog"].size.width_px, SIZE_PRESETS["blog"].size.height_px) == (1200, 632)
