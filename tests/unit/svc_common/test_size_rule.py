"""Tests of how many items a request may hold."""

import pytest
from pingvas.generation.v1 import generation_service_pb2, job_pb2
from pingvas.payment.v1 import ledger_service_pb2
from pingvas.worker.v1 import worker_service_pb2

from svc_common.errors import FieldViolation, ServiceError
from svc_common.interceptors.size_rule import max_items, size_violations
from svc_common.interceptors.validation import _validate


def with_loras(count: int) -> generation_service_pb2.CreateJobRequest:
    loras = [job_pb2.LoraWeight(model_id="ink")] * count
    return generation_service_pb2.CreateJobRequest(text_to_image=job_pb2.TextToImage(prompt="a heron", loras=loras))


def test_list_of_the_largest_length_is_no_violation() -> None:
    assert size_violations(with_loras(8)) == []


def test_list_that_is_too_long_is_named_with_its_limit() -> None:
    assert size_violations(with_loras(9)) == [FieldViolation("text_to_image.loras", "must contain at most 8 item(s)")]


def test_lists_within_items_are_looked_at() -> None:
    coverage = [job_pb2.LoraCoverage()] * 9
    images = [worker_service_pb2.ReportedImage(), worker_service_pb2.ReportedImage(partial_loras=coverage)]
    (violation,) = size_violations(worker_service_pb2.CompleteAttemptRequest(images=images))
    assert violation.field == "images[1].partial_loras"


def test_items_of_a_list_that_is_too_long_are_not_explained() -> None:
    request = generation_service_pb2.CreateJobRequest()
    # A million empty LoRAs, each two bytes.
    request.text_to_image.MergeFromString(b"\x5a\x00" * 1_000_000)
    with pytest.raises(ServiceError) as refused:
        _validate(None, request)  # type: ignore[arg-type] - the call isn't looked at
    assert [violation.field for violation in refused.value.violations] == ["text_to_image.loras"]


def test_limit_is_that_of_the_contract() -> None:
    requests = ledger_service_pb2.BatchReserveCreditsRequest.DESCRIPTOR.fields_by_name["requests"]
    assert max_items(requests) == 64
