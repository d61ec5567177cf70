"""The fake pipeline keeps the protocol and has the accidents that tests of the fleet rely on."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from gpu_worker.models.files import ModelSpec
from gpu_worker.render.interface import (
    InvalidOutputError,
    OutOfMemoryError,
    RenderCancelledError,
    RenderSpec,
    StepReport,
)
from tests.fakes.pipeline import FakePipeline

SPEC = RenderSpec(
    model=ModelSpec("fake-model", "1", "tiny", ()),
    prompt="a disc",
    negative_prompt="",
    width_px=64,
    height_px=48,
    step_count=4,
    guidance_scale=7.5,
    seed=1,
    image_count=2,
    scheduler="euler",
)
# Draws SPEC with another prompt, in a process of its own, and prints the steps as they are done.
DRAW_IN_PROCESS = """
import sys
from dataclasses import replace
from tests.fakes.pipeline import FakePipeline
from tests.unit.test_fake_pipeline import SPEC
report = lambda step: print(step.step, flush=True)
FakePipeline(0.0).render(replace(SPEC, prompt=sys.argv[1]), report, lambda: False)
"""


def ignore(_report: StepReport) -> None:
    return


def never() -> bool:
    return False


def test_same_recipe_draws_the_same_pixels_and_another_seed_does_not() -> None:
    pipeline = FakePipeline(0.0)
    first, again = (pipeline.render(SPEC, ignore, never) for _ in range(2))
    assert [image.seed for image in first.images] == [1, 2]
    for one, other in zip(first.images, again.images, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
    assert first.images[0].pixels.shape == (48, 64, 3)
    assert not np.array_equal(first.images[0].pixels, first.images[1].pixels)


def test_reports_count_over_all_images() -> None:
    reports: list[StepReport] = []
    FakePipeline(0.0).render(SPEC, reports.append, never)
    assert [(report.image_index, report.step, report.step_count) for report in reports] == [
        (index // 4, index + 1, 8) for index in range(8)
    ]
    assert reports[0].preview is not None
    assert reports[-1].preview is not None


def test_cancellation_takes_effect_at_the_next_step() -> None:
    reports: list[StepReport] = []
    with pytest.raises(RenderCancelledError) as caught:
        FakePipeline(0.01).render(SPEC, reports.append, lambda: len(reports) == 3)
    assert caught.value.completed_steps == 4
    assert caught.value.gpu_seconds >= 0.04


@pytest.mark.parametrize(
    ("marker", "error"),
    [("[[raise]]", ZeroDivisionError), ("[[oom]]", OutOfMemoryError), ("[[nan]]", InvalidOutputError)],
)
def test_marker_makes_the_render_fail(marker: str, error: type[Exception]) -> None:
    pipeline = FakePipeline(0.0)
    with pytest.raises(error):
        pipeline.render(replace(SPEC, prompt=f"a disc {marker}"), ignore, never)
    assert len(pipeline.render(SPEC, ignore, never).images) == 2


def test_slow_marker_sets_the_time_of_a_step() -> None:
    result = FakePipeline(0.0).render(replace(SPEC, prompt="[[slow=0.02]]"), ignore, never)
    assert result.gpu_seconds >= 8 * 0.02


@pytest.mark.parametrize(("marker", "steps_before"), [("[[kill]]", 3), ("[[kill=6]]", 5)])
def test_kill_marker_kills_the_process_at_its_step(marker: str, steps_before: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DRAW_IN_PROCESS, marker],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(done.stdout.splitlines()) == steps_before
