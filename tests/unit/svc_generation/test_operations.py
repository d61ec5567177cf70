"""The rules of jobs that work on pictures, and of LoRAs."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pingvas.vocabulary import Operation as OperationKind
from pingvas.vocabulary import Tier

from svc_common.errors import Reason, ServiceError
from svc_common.tiers import Reach
from svc_generation.domain.limits import (
    ModelFacts,
    TierFacts,
    check_lora,
    check_loras_distinct,
    check_operation,
    check_upscale,
)
from svc_generation.domain.pricing import ModelCost, quote_upscale_millicredits, steps_that_run
from svc_generation.domain.sizes import Size, fitted

MODEL = ModelFacts("tiny", "tiny", Tier.FREE, 512, 256, 20, 7.5, ("euler",), frozenset({OperationKind.TEXT_TO_IMAGE}))
LORA = ModelFacts("ink", "tiny", Tier.FREE, 0, 0, 0, 0.0, (), frozenset(), is_lora=True)
STUDIO = TierFacts(Reach(Tier.STUDIO, frozenset({"tiny"})), 4096, 8, 100, 5, 1)

sizes = st.builds(Size, st.integers(1, 20_000), st.integers(1, 20_000))


@pytest.mark.parametrize(
    ("source", "limit", "expected"),
    [
        (Size(512, 384), 768, Size(512, 384)),
        (Size(519, 389), 768, Size(512, 384)),
        (Size(2000, 1000), 768, Size(768, 384)),
        (Size(1000, 2000), 768, Size(384, 768)),
        (Size(1, 1), 768, Size(64, 64)),
        (Size(20_000, 100), 768, Size(768, 64)),
        (Size(8000, 5000), 100_000, Size(4096, 2560)),
    ],
)
def test_size_without_a_wish_is_the_sources_in_whole_blocks(source: Size, limit: int, expected: Size) -> None:
    assert fitted(source, limit) == expected


@given(sizes, st.integers(8, 1024).map(lambda n: 8 * n))
def test_size_from_a_source_is_within_the_limits_and_keeps_its_proportions(source: Size, limit: int) -> None:
    size = fitted(source, limit)
    for side in (size.width_px, size.height_px):
        assert side % 8 == 0
        assert 64 <= side <= min(limit, 4096)
    scale = min(1.0, min(limit, 4096) / source.longest_px)
    for side, of_source in ((size.width_px, source.width_px), (size.height_px, source.height_px)):
        # At most one block smaller, unless the smallest side rules.
        assert side == 64 or -1e-6 < of_source * scale - side < 9


@pytest.mark.parametrize(
    ("steps", "strength", "run"), [(20, 1.0, 20), (20, 0.6, 12), (10, 0.29, 2), (10, 0.01, 1), (1, 1.0, 1)]
)
def test_share_of_the_steps_runs_and_at_least_one(steps: int, strength: float, run: int) -> None:
    assert steps_that_run(steps, strength) == run


@given(st.integers(1, 150), st.floats(0, 1, exclude_min=True))
def test_never_more_steps_run_than_there_are(steps: int, strength: float) -> None:
    assert 1 <= steps_that_run(steps, strength) <= steps


def test_upscaling_is_priced_by_its_result() -> None:
    assert quote_upscale_millicredits(ModelCost(380.0, 60, 1500.0), Size(1000, 2000)) == 3060
    assert quote_upscale_millicredits(ModelCost(380.0, 0, 0.0), Size(64, 64)) == 1


def test_operation_must_be_one_of_the_models() -> None:
    check_operation(MODEL, OperationKind.TEXT_TO_IMAGE)
    two = replace(MODEL, operations=frozenset({OperationKind.INPAINT, OperationKind.TEXT_TO_IMAGE}))
    for model, known in ((MODEL, "text_to_image"), (two, "text_to_image, inpaint"), (LORA, "")):
        with pytest.raises(ServiceError) as refused:
            check_operation(model, OperationKind.UPSCALE)
        assert refused.value.reason is Reason.OPERATION_UNSUPPORTED
        assert refused.value.metadata == {"model_id": model.model_id, "operation": "upscale", "operations": known}


def test_lora_must_be_one_and_for_the_models_family() -> None:
    check_lora(LORA, MODEL, "inpaint.loras[1].model_id")
    for other in (replace(LORA, family="sdxl"), replace(MODEL, model_id="ink", family="sd15"), MODEL):
        with pytest.raises(ServiceError) as refused:
            check_lora(other, MODEL, "inpaint.loras[1].model_id")
        assert refused.value.reason is Reason.LORA_INCOMPATIBLE
        assert refused.value.metadata == {"model_id": other.model_id, "family": other.family, "wanted_family": "tiny"}
        assert [violation.field for violation in refused.value.violations] == ["inpaint.loras[1].model_id"]


def test_each_repetition_of_a_lora_is_named() -> None:
    fields = ["inpaint.loras[0].model_id", "inpaint.loras[1].model_id", "inpaint.loras[2].model_id", "inpaint.prompt"]
    check_loras_distinct(["a", "b"], fields[:2])
    with pytest.raises(ServiceError) as refused:
        check_loras_distinct(["a", "b", "a", "a"], fields)
    assert refused.value.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in refused.value.violations] == fields[2:]


def test_tier_counts_for_the_source_of_an_upscaling_and_not_for_its_result() -> None:
    check_upscale(Size(2048, 1000), 4, 100, STUDIO, "upscale")
    with pytest.raises(ServiceError) as refused:
        check_upscale(Size(64, 4104), 2, 101, STUDIO, "upscale")
    assert refused.value.reason is Reason.TIER_LIMIT_EXCEEDED
    assert refused.value.metadata == {"tier": "studio", "limit": "4096", "field": "upscale.source"}
    assert [violation.field for violation in refused.value.violations] == ["upscale.source", "upscale.step_count"]


@pytest.mark.parametrize(
    ("source", "factor", "fits"),
    [
        (Size(4096, 2400), 2, True),  # 8192 x 4800
        (Size(4096, 2448), 2, False),  # 40.1 megapixels
        (Size(2048, 1200), 4, True),
        (Size(2056, 64), 4, False),  # 8224 wide
    ],
)
def test_result_of_an_upscaling_has_a_largest_size(source: Size, factor: int, fits: bool) -> None:
    if fits:
        check_upscale(source, factor, 1, STUDIO, "upscale")
        return
    with pytest.raises(ServiceError) as refused:
        check_upscale(source, factor, 1, STUDIO, "upscale")
    assert refused.value.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in refused.value.violations] == ["upscale.scale_factor"]
