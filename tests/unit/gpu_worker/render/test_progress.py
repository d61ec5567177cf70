"""Progress: what is estimated from measured steps, and which steps have previews."""

import pytest

from gpu_worker.render.progress import PREVIEW_INTERVAL_S, RenderProgress


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def pass_seconds(self, seconds: float) -> None:
        self.now_s += seconds


def test_estimate_leaves_the_first_step_out_when_it_was_slow() -> None:
    clock = Clock()
    progress = RenderProgress(step_count=4, image_count=1, clock=clock)
    for seconds in (10.0, 1.0, 1.0):
        clock.pass_seconds(seconds)
        progress.step_done()
    # One step of a second, and the decoding, which is taken for a step until it was measured.
    assert progress.seconds_left() == pytest.approx(2.0)


def test_estimate_uses_the_measured_decoding_for_the_images_that_follow() -> None:
    clock = Clock()
    progress = RenderProgress(step_count=2, image_count=3, clock=clock)
    for _ in range(2):
        clock.pass_seconds(1.0)
        progress.step_done()
    clock.pass_seconds(5.0)
    progress.image_done()
    clock.pass_seconds(1.0)
    progress.step_done()
    assert progress.completed_steps == 3
    assert progress.step_count == 6
    assert progress.seconds_left() == pytest.approx(3 * 1.0 + 2 * 5.0)


def test_estimate_ends_at_the_decoding_when_the_last_step_is_done() -> None:
    clock = Clock()
    progress = RenderProgress(step_count=1, image_count=1, clock=clock)
    clock.pass_seconds(2.0)
    progress.step_done()
    assert progress.seconds_left() == pytest.approx(2.0)


def test_previews_come_at_the_first_and_last_step_and_at_intervals_between() -> None:
    clock = Clock()
    progress = RenderProgress(step_count=10, image_count=2, clock=clock)
    due = []
    for step in range(1, 21):
        clock.pass_seconds(PREVIEW_INTERVAL_S * 0.26)
        progress.step_done()
        if progress.preview_due():
            due.append(step)
    assert due == [1, 5, 9, 10, 14, 18, 20]


def test_every_step_has_a_preview_when_steps_are_slow() -> None:
    clock = Clock()
    progress = RenderProgress(step_count=5, image_count=1, clock=clock)
    due = 0
    for _ in range(5):
        clock.pass_seconds(PREVIEW_INTERVAL_S * 1.01)
        progress.step_done()
        due += progress.preview_due()
    assert due == 5
