"""What callers read of a broken rule: good English, whatever its number."""

import pytest
from google.protobuf.message import Message
from pingvas.generation.v1 import generation_service_pb2, job_pb2
from pingvas.user.v1 import auth_service_pb2, user_service_pb2

from svc_common.caller import Call
from svc_common.errors import ServiceError
from svc_common.interceptors.validation import _validate


@pytest.mark.parametrize(
    ("request_message", "expected"),
    [
        (auth_service_pb2.LoginRequest(email="a@b.c"), {"password": "must not be empty"}),
        (user_service_pb2.UpdateMeRequest(display_name=""), {"display_name": "must not be empty"}),
        (user_service_pb2.UpdateMeRequest(display_name="a" * 81), {"display_name": "must be at most 80 characters"}),
        (
            generation_service_pb2.CreateJobRequest(text_to_image=job_pb2.TextToImage(prompt="x", image_count=9)),
            {"text_to_image.image_count": "must be greater than or equal to 0 and less than or equal to 8"},
        ),
    ],
)
def test_rule_is_told_in_good_english(request_message: Message, expected: dict[str, str]) -> None:
    with pytest.raises(ServiceError) as refused:
        _validate(Call.__new__(Call), request_message)
    assert {each.field: each.description for each in refused.value.violations} == expected
