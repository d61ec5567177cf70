"""The rules of the catalogue: tiers, manifests, and which of them are served."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pingvas.models.v1 import model_pb2
from pingvas.vocabulary import Operation, Tier

from svc_common.errors import Code, Reason
from svc_models.domain.access import model_not_found
from svc_models.domain.kinds import ModelKind
from svc_models.domain.manifest import Manifest, ManifestError, ManifestFile, parse_manifest
from svc_models.domain.selection import choose_default, choose_served
from tests.factories.models import lora_document, manifest_document


def parsed(model_id: str = "a-model", **changes: object) -> Manifest:
    return parse_manifest(json.dumps(manifest_document(model_id, **changes)).encode())


def lora(model_id: str = "a-lora", **changes: object) -> Manifest:
    return parse_manifest(json.dumps(lora_document(model_id, **changes)).encode())


def problems_of(content: bytes) -> list[str]:
    with pytest.raises(ManifestError) as refused:
        parse_manifest(content)
    return list(refused.value.problems)


def test_refusal_tells_the_model() -> None:
    not_found = model_not_found("nonsense")
    assert (not_found.reason, not_found.code) == (Reason.MODEL_NOT_FOUND, Code.NOT_FOUND)
    assert not_found.metadata == {"model_id": "nonsense"}


def test_manifest_is_parsed() -> None:
    manifest = parsed("pingvas-tiny", minimum_tier="pro", a_key_of_the_future=True)

    assert manifest == Manifest(
        model_id="pingvas-tiny",
        revision="1",
        display_name="The model pingvas-tiny",
        family="tiny",
        licence="Apache-2.0",
        minimum_tier=Tier.PRO,
        native_width_px=512,
        native_height_px=256,
        default_step_count=20,
        default_guidance_scale=7.5,
        schedulers=("euler", "ddim"),
        files=(
            ManifestFile("unet/weights.safetensors", 1000, "0a" * 32),
            ManifestFile("model_index.json", 24, "1b" * 32),
        ),
        millicredits_per_megapixel_step=380.5,
        fixed_millicredits=60,
    )


@pytest.mark.parametrize("field", sorted(manifest_document()))
def test_missing_field_is_named(field: str) -> None:
    document = manifest_document()
    del document[field]

    (problem,) = problems_of(json.dumps(document).encode())

    assert problem.startswith(f"{field} must be")


def file_entry(**changes: object) -> list[dict[str, object]]:
    return [{"path": "a.safetensors", "size_bytes": 1, "sha256": "00" * 32, **changes}]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model_id": "Upper"}, "model_id must be 1 to 100 of"),
        ({"model_id": "x" * 101}, "model_id must be 1 to 100 of"),
        ({"model_id": "a\n"}, "model_id must be 1 to 100 of"),
        ({"revision": "  "}, "revision must be text of 1 to 200"),
        ({"revision": 1}, "revision must be text of 1 to 200"),
        ({"display_name": "a\0b"}, "display_name must be text"),
        ({"licence": "x" * 201}, "licence must be text of 1 to 200"),
        ({"minimum_tier": "gold"}, "minimum_tier can't be used: 'gold' is none of the tiers"),
        ({"minimum_tier": 1}, "minimum_tier must be text"),
        ({"native_width_px": 500}, "native_width_px must be a multiple of 8"),
        ({"native_width_px": 0}, "native_width_px must be a whole number from 8"),
        ({"native_height_px": 512.0}, "native_height_px must be a whole number"),
        ({"native_height_px": 2**31}, "native_height_px must be a whole number"),
        ({"default_step_count": True}, "default_step_count must be a whole number"),
        ({"default_guidance_scale": -0.1}, "default_guidance_scale must be a number from 0"),
        ({"default_guidance_scale": float("nan")}, "default_guidance_scale must be a number from 0"),
        ({"default_guidance_scale": float("inf")}, "default_guidance_scale must be a number from 0"),
        ({"default_guidance_scale": "7"}, "default_guidance_scale must be a number from 0"),
        ({"schedulers": []}, "schedulers must be a list with at least one element"),
        ({"schedulers": ["euler", 1]}, "schedulers must list names only"),
        ({"schedulers": ["euler", "euler"]}, "schedulers names one twice"),
        ({"cost": []}, "cost must be an object"),
        (
            {"cost": {"millicredits_per_megapixel_step": 0, "fixed_millicredits": 1}},
            "cost.millicredits_per_megapixel_step must be a number from 1e-06",
        ),
        (
            {"cost": {"millicredits_per_megapixel_step": 1, "fixed_millicredits": -1}},
            "cost.fixed_millicredits must be a whole number from 0",
        ),
        ({"files": {}}, "files must be a list with at least one element"),
        ({"files": ["a"]}, "files[0] must be an object"),
        ({"files": file_entry(sha256="AA" * 32)}, "files[0].sha256 must be 64 lower-case hexadecimal digits"),
        ({"files": file_entry(size_bytes=-1)}, "files[0].size_bytes must be a whole number from 0"),
        ({"files": file_entry() + file_entry()}, "files names one path twice"),
    ],
)
def test_bad_field_is_named(changes: dict[str, object], problem: str) -> None:
    (found,) = problems_of(json.dumps(manifest_document(**changes)).encode())

    assert found.startswith(problem)


@pytest.mark.parametrize("path", ["/etc/passwd", "../weights", "a/../../b", "a//b", "./a", "a\\b", "", "a/", "a\0b"])
def test_path_that_leads_out_of_the_folder_is_refused(path: str) -> None:
    (found,) = problems_of(json.dumps(manifest_document(files=file_entry(path=path))).encode())

    assert found.startswith("files[0].path can't be used")


def test_all_problems_are_told_at_once() -> None:
    document = manifest_document(family="", files=[*file_entry(), {"path": "../b"}], cost={})

    assert [problem.partition(" ")[0] for problem in problems_of(json.dumps(document).encode())] == [
        "family",
        "files[1].path",
        "files[1].size_bytes",
        "files[1].sha256",
        "cost.millicredits_per_megapixel_step",
        "cost.fixed_millicredits",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"{", "isn't JSON"), (b"\xff\xfe\xff", "isn't JSON"), (b"[]", "isn't a JSON object"), (b"", "isn't JSON")],
)
def test_content_that_is_no_object_is_refused(content: bytes, problem: str) -> None:
    assert problems_of(content)[0].startswith(problem)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(field=st.sampled_from(sorted(manifest_document())), value=JSON_VALUES)
def test_any_value_of_any_field_is_taken_or_refused_by_name(field: str, value: object) -> None:
    content = json.dumps(manifest_document() | {field: value}).encode()
    problems: tuple[str, ...] = ()
    try:
        parse_manifest(content)
    except ManifestError as refused:
        problems = refused.problems

    assert all(problem.startswith(field) for problem in problems)


@pytest.mark.parametrize(
    ("revisions", "latest"),
    [
        (["1", "2"], "2"),
        (["9", "10"], "10"),
        (["10", "9"], "10"),
        (["1.9", "1.10"], "1.10"),
        (["v1", "v1-beta"], "v1-beta"),
        (["2026-01-02", "2025-12-31"], "2026-01-02"),
    ],
)
def test_latest_revision_is_served(revisions: list[str], latest: str) -> None:
    (served,) = choose_served(parsed(revision=revision) for revision in revisions)

    assert served.revision == latest


@given(st.lists(st.text(alphabet="019.-ab", min_size=1).filter(str.strip), min_size=1, max_size=6))
def test_latest_revision_does_not_depend_on_the_order_of_folders(revisions: list[str]) -> None:
    manifests = [parsed(revision=revision[:200]) for revision in revisions]

    def served(order: list[Manifest]) -> str:
        return choose_served(order)[0].revision

    assert served(manifests) == served(manifests[::-1]) == served(sorted(manifests, key=lambda each: each.revision))


def test_each_model_is_served_in_the_order_found() -> None:
    manifests = [parsed("b"), parsed("a"), parsed("b", revision="2")]

    assert [(each.model_id, each.revision) for each in choose_served(manifests)] == [("b", "2"), ("a", "1")]


@pytest.mark.parametrize(
    ("model_ids", "wanted", "default"),
    [
        (["a", "b", "pingvas-tiny"], "b", "b"),
        (["a", "b", "pingvas-tiny"], None, "pingvas-tiny"),
        (["b", "a"], None, "b"),
        ([], None, None),
    ],
)
def test_default_is_the_wanted_then_the_built_in_then_the_first(
    model_ids: list[str], wanted: str | None, default: str | None
) -> None:
    assert choose_default([parsed(model_id) for model_id in model_ids], wanted) == default


def test_lora_is_never_the_default() -> None:
    assert choose_default([lora("a"), parsed("b")], None) == "b"
    assert choose_default([lora("a")], None) is None
    with pytest.raises(ValueError, match="'a' is none of the models that were found: b"):
        choose_default([lora("a"), parsed("b")], "a")


def test_wanted_default_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="'c' is none of the models that were found: a, b"):
        choose_default([parsed("a"), parsed("b")], "c")


def test_kinds_are_those_of_the_contract() -> None:
    kinds = {f"MODEL_KIND_{kind.name}": int(kind) for kind in ModelKind}

    assert kinds | {"MODEL_KIND_UNSPECIFIED": 0} == dict(model_pb2.ModelKind.items())


def test_lora_needs_family_and_files_only() -> None:
    manifest = lora("ink-lines", family="sd15")

    assert (manifest.kind, manifest.family, manifest.operations) == (ModelKind.LORA, "sd15", ())
    assert [file.path for file in manifest.files] == ["a.safetensors"]
    assert manifest.trigger_words == ()


def test_lora_may_name_the_words_that_it_answers_to() -> None:
    assert lora(trigger_words=["ink wash", " sumi-e "]).trigger_words == ("ink wash", "sumi-e")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"files": [*file_entry(), *file_entry(path="b.safetensors")]},
            "files must hold exactly one .safetensors file",
        ),
        ({"files": file_entry(path="a.json")}, "files must hold exactly one .safetensors file"),
        ({"operations": ["text_to_image"]}, "operations are those of the models that a LoRA is applied to"),
        ({"family": ""}, "family must be"),
        ({"kind": "embedding"}, "kind can't be used: 'embedding' is none of checkpoint, lora"),
        ({"trigger_words": "ink"}, "trigger_words must be a list"),
        ({"trigger_words": [7]}, "trigger_words must list names only"),
        ({"trigger_words": [" "]}, "trigger_words must have 1 to 100 characters each"),
        ({"trigger_words": ["a\nb"]}, "trigger_words must have 1 to 100 characters each"),
        ({"trigger_words": ["ink", "ink "]}, "trigger_words names one twice"),
        ({"trigger_words": [str(n) for n in range(21)]}, "trigger_words must list at most 20"),
    ],
)
def test_bad_lora_is_refused(changes: dict[str, object], problem: str) -> None:
    assert any(found.startswith(problem) for found in problems_of(json.dumps(lora_document() | changes).encode()))


def test_checkpoint_makes_pictures_from_prompts_when_its_manifest_names_no_operations() -> None:
    manifest = parsed()

    assert (manifest.kind, manifest.operations) == (ModelKind.CHECKPOINT, (Operation.TEXT_TO_IMAGE,))


def test_operations_are_read_and_upscaling_has_its_rate() -> None:
    cost = {"millicredits_per_megapixel_step": 1, "fixed_millicredits": 0, "upscale_millicredits_per_megapixel": 70.5}
    manifest = parsed(operations=["inpaint", "upscale"], cost=cost)

    assert manifest.operations == (Operation.INPAINT, Operation.UPSCALE)
    assert manifest.upscale_millicredits_per_megapixel == 70.5


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"operations": []}, "operations must be a list with at least one element"),
        ({"operations": ["inpaint", "inpaint"]}, "operations names one twice"),
        ({"operations": ["outpaint"]}, "operations can't be used: 'outpaint' is none of text_to_image, image_to_image"),
        ({"operations": ["upscale"]}, "cost.upscale_millicredits_per_megapixel must be a number from 1e-06"),
    ],
)
def test_bad_operations_are_named(changes: dict[str, object], problem: str) -> None:
    (found,) = problems_of(json.dumps(manifest_document(**changes)).encode())

    assert found.startswith(problem)
