"""What a pause means: for its tier as long as it lasts, and for the waits that it has drawn out when it is over."""

from datetime import UTC, datetime, timedelta

from svc_generation.domain.pauses import Pauses, TierPause

START = datetime(2026, 11, 29, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PAUSED, RESUMED, UNTOUCHED = 1, 2, 3
PAUSES = Pauses.of(
    [TierPause(PAUSED, START, None, "a faulty driver"), TierPause(RESUMED, START, START + 10 * MINUTE, "")]
)


def test_a_tier_is_paused_until_it_is_resumed() -> None:
    present = PAUSES.present(PAUSED)
    assert present is not None
    assert present.reason == "a faulty driver"
    assert PAUSES.present(RESUMED) is PAUSES.present(UNTOUCHED) is None
    assert PAUSES.paused_tiers() == {PAUSED}


def test_a_job_that_was_there_before_its_tier_went_on_was_held_up() -> None:
    for moment in (START - MINUTE, START + 9 * MINUTE):
        assert PAUSES.held_up(RESUMED, moment)
    assert not PAUSES.held_up(RESUMED, START + 10 * MINUTE)
    assert not PAUSES.held_up(UNTOUCHED, START)
    # Claimed while the pause was on its way.
    assert PAUSES.held_up(PAUSED, START - MINUTE)
