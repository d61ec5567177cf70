"""Prices, limits, event ids and waiting times: rules that need nothing but their arguments."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pingvas.vocabulary import Tier

from svc_common.errors import Reason, ServiceError
from svc_common.tiers import Reach
from svc_generation.domain.event_ids import EventId
from svc_generation.domain.limits import (
    ModelFacts,
    Picture,
    TierFacts,
    check_model,
    check_scheduler,
    check_tier,
    with_defaults,
)
from svc_generation.domain.pricing import ModelCost, Work, hold_millicredits, quote_millicredits
from svc_generation.domain.sizes import Size
from svc_generation.domain.waiting import WaitEstimate, WaitStatistics

MODEL = ModelFacts("tiny", "tiny", Tier.FREE, 512, 256, 20, 7.5, ("euler", "ddim"))
FREE = TierFacts(Reach(Tier.FREE, frozenset({"tiny", "sd15"})), 768, 1, 30, 5, 1)
ASKED = Picture(256, 128, 10, 1, 3.0, "ddim")

event_ids = st.builds(EventId, st.integers(0, 10**18 - 1), st.integers(0, 10**18 - 1))
works = st.builds(Work, *[st.integers(8, 512).map(lambda n: 8 * n)] * 2, st.integers(1, 150), st.integers(1, 8))
costs = st.builds(ModelCost, st.floats(0.01, 10_000), st.integers(0, 10_000))


def test_quote_is_the_measured_cost_plus_the_fixed_part() -> None:
    # 0.5 megapixels x 20 steps x 2 pictures = 20 megapixel-steps.
    assert quote_millicredits(ModelCost(380.0, 60), Work(1000, 500, 20, 2)) == 7660


def test_quote_rounds_up_to_whole_millicredits() -> None:
    assert quote_millicredits(ModelCost(0.001, 0), Work(64, 64, 1, 1)) == 1
    assert quote_millicredits(ModelCost(100.0, 5), Work(1000, 1001, 1, 1)) == 101 + 5


@given(costs, works)
def test_quote_is_positive_and_grows_with_the_work(cost: ModelCost, work: Work) -> None:
    quote = quote_millicredits(cost, work)
    assert quote >= 1
    for more in (
        replace(work, width_px=work.width_px + 8),
        replace(work, step_count=work.step_count + 1),
        replace(work, image_count=work.image_count + 1),
    ):
        assert quote_millicredits(cost, more) >= quote


@given(st.integers(1, 10**12))
def test_hold_is_half_as_much_again_rounded_up(quote: int) -> None:
    assert hold_millicredits(quote) == math.ceil(3 * quote / 2) >= quote


def test_defaults_fill_what_a_request_leaves_out() -> None:
    nothing = Picture(0, 0, 0, 0, None, "")
    assert with_defaults(nothing, MODEL, MODEL.native_size) == Picture(512, 256, 20, 1, 7.5, "euler")
    assert with_defaults(replace(nothing, height_px=64), MODEL, Size(96, 80)) == Picture(96, 64, 20, 1, 7.5, "euler")


def test_defaults_leave_what_a_request_says() -> None:
    asked = replace(ASKED, guidance_scale=0.0)
    assert with_defaults(asked, MODEL, Size(8, 8)) == asked


@pytest.mark.parametrize(
    ("family", "minimum_tier", "reached"),
    [("tiny", Tier.FREE, True), ("sd15", Tier.FREE, True), ("tiny", Tier.PRO, False), ("sdxl", Tier.PRO, False)],
)
def test_model_needs_its_family_and_its_minimum_tier(family: str, minimum_tier: Tier, reached: bool) -> None:
    model = replace(MODEL, family=family, minimum_tier=minimum_tier)
    if reached:
        check_model(model, FREE)
        return
    with pytest.raises(ServiceError) as refused:
        check_model(model, FREE)
    assert refused.value.reason is Reason.MODEL_NOT_IN_TIER
    assert refused.value.metadata == {"model_id": "tiny", "tier": "free", "minimum_tier": "pro"}


def test_scheduler_must_be_one_of_the_models() -> None:
    check_scheduler(ASKED, MODEL, "text_to_image")
    with pytest.raises(ServiceError) as refused:
        check_scheduler(replace(ASKED, scheduler="dpm"), MODEL, "text_to_image")
    assert refused.value.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in refused.value.violations] == ["text_to_image.scheduler"]
    assert "euler, ddim" in refused.value.message


@pytest.mark.parametrize(
    ("field", "largest"), [("width_px", 768), ("height_px", 768), ("step_count", 30), ("image_count", 1)]
)
def test_tier_allows_its_limit_and_no_more(field: str, largest: int) -> None:
    check_tier(replace(ASKED, **{field: largest}), FREE, "text_to_image")
    with pytest.raises(ServiceError) as refused:
        check_tier(replace(ASKED, **{field: largest + 8}), FREE, "text_to_image")
    assert refused.value.reason is Reason.TIER_LIMIT_EXCEEDED
    path = f"text_to_image.{field}"
    assert refused.value.metadata == {"tier": "free", "limit": str(largest), "field": path}
    assert [violation.field for violation in refused.value.violations] == [path]


def test_tier_names_every_field_above_it() -> None:
    with pytest.raises(ServiceError) as refused:
        check_tier(Picture(4096, 4096, 150, 8, 1.0, "ddim"), FREE, "text_to_image")
    fields = [violation.field.removeprefix("text_to_image.") for violation in refused.value.violations]
    assert fields == ["width_px", "height_px", "step_count", "image_count"]


@given(event_ids)
def test_event_id_reads_back_what_it_writes(event_id: EventId) -> None:
    assert EventId.parse(str(event_id)) == event_id


@given(event_ids, event_ids)
def test_event_ids_order_by_sequence_and_then_by_step(one: EventId, other: EventId) -> None:
    assert (one < other) == ((one.sequence, one.step) < (other.sequence, other.step))


def test_progress_stands_between_its_change_of_state_and_the_next() -> None:
    texts = ["9", "9-1", "9-2", "9-10", "10", "10-1"]
    parsed = [EventId.parse(text) for text in texts]
    assert parsed == sorted(parsed)
    assert EventId.parse("") < parsed[0]


@pytest.mark.parametrize("text", ["x", "-1", "1-", "1-2-3", " 1", "1 ", "1.5", "+1", "\u0661", "9" * 19, "1\n"])
def test_event_id_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ServiceError) as refused:
        EventId.parse(text)
    assert refused.value.reason is Reason.EVENT_ID_INVALID


def test_wait_is_guessed_from_the_job_itself_when_nothing_was_measured() -> None:
    assert WaitStatistics().estimate(3, 2.0) == WaitEstimate(6.0, 12.0)
    assert WaitStatistics().estimate(0, 2.0) == WaitEstimate(0.0, 0.0)


def test_wait_is_the_measured_quantile_of_seconds_a_place() -> None:
    statistics = WaitStatistics()
    for tenth in range(1, 11):
        statistics.observe(1, 2.0 * tenth)  # 1 to 10 seconds a place
    assert statistics.estimate(0, 99.0) == WaitEstimate(6.0, 10.0)
    assert statistics.estimate(4, 99.0) == WaitEstimate(30.0, 50.0)


def test_wait_forgets_what_was_measured_long_ago() -> None:
    statistics = WaitStatistics()
    for seconds in [1000.0] * 50 + [1.0] * 200:
        statistics.observe(0, seconds)
    assert statistics.estimate(0, 99.0) == WaitEstimate(1.0, 1.0)


@given(st.lists(st.tuples(st.integers(0, 100), st.floats(-10, 1000)), min_size=1), st.integers(0, 1000))
def test_estimates_are_never_negative_and_grow_with_the_position(waits: list[tuple[int, float]], place: int) -> None:
    statistics = WaitStatistics()
    for position, seconds in waits:
        statistics.observe(position, seconds)
    here, behind = statistics.estimate(place, 1.0), statistics.estimate(place + 1, 1.0)
    assert 0 <= here.p50_seconds <= here.p90_seconds
    assert (here.p50_seconds, here.p90_seconds) <= (behind.p50_seconds, behind.p90_seconds)
