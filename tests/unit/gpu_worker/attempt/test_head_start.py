"""Which claims get a head start, and what is expected of them."""

import dataclasses

import pytest
from pingvas.generation.v1 import job_pb2
from pingvas.models.v1 import model_pb2

from gpu_worker.attempt.head_start import expected_attempt
from svc_common.queue import Claim
from tests.factories.queue import queued_job


def text_to_image(**changes: object) -> job_pb2.TextToImage:
    return job_pb2.TextToImage(prompt="a penguin", model_id="tiny", width_px=64, height_px=64, **changes)  # type: ignore[arg-type]


def known(*model_ids: str) -> dict[str, model_pb2.ModelSpec]:
    return {each: model_pb2.ModelSpec(model=model_pb2.Model(model_id=each)) for each in model_ids}


def claim(operation: job_pb2.TextToImage, *, kind: str = "text_to_image", is_first: bool = True) -> Claim:
    job = dataclasses.replace(queued_job(), operation_kind=kind, operation=operation.SerializeToString())
    return Claim(job, "worker-0", fence=1, is_first=is_first)


def test_expected_attempt_is_what_the_record_says_on_models_that_are_known() -> None:
    operation = text_to_image(loras=[job_pb2.LoraWeight(model_id="ink"), job_pb2.LoraWeight(model_id="oil")])
    made = claim(operation)
    models = known("oil", "tiny", "ink", "other")

    expected = expected_attempt(made, models)

    assert expected is not None
    assert (expected.job_id, expected.account_id) == (str(made.job.job_id), str(made.job.account_id))
    assert expected.text_to_image == operation
    assert expected.model == models["tiny"]
    assert list(expected.loras) == [models["ink"], models["oil"]]


@pytest.mark.parametrize(
    "without",
    [
        pytest.param(claim(text_to_image(), is_first=False), id="somebody had it before"),
        pytest.param(claim(text_to_image(), kind="inpaint"), id="begins with a picture"),
        pytest.param(Claim(queued_job(), "worker-0", fence=1, is_first=True), id="no operation in the record"),
        pytest.param(claim(text_to_image(loras=[job_pb2.LoraWeight(model_id="ink")])), id="a LoRA that is not known"),
    ],
)
def test_no_head_start(without: Claim) -> None:
    assert expected_attempt(without, known("tiny")) is None


def test_no_head_start_on_a_model_that_is_not_known() -> None:
    assert expected_attempt(claim(text_to_image()), known("other")) is None
