"""The table of reasons, and errors on their way over the wire."""

from datetime import timedelta

import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from svc_common.errors import Code, FieldViolation, Reason, ServiceError
from svc_common.status import from_status, to_status


@pytest.mark.parametrize("code", list(Code))
def test_code_has_the_number_of_google_rpc(code: Code) -> None:
    assert code_pb2.Code.Value(code.name) == code


def test_error_comes_back_unchanged_from_its_status() -> None:
    sent = ServiceError(
        Reason.QUEUE_FULL,
        "Wait a little.",
        metadata={"tier": "free", "limit": "5"},
        retry_after=timedelta(seconds=2.5),
        violations=[FieldViolation("a.b", "must be less"), FieldViolation("c", "must be more")],
    )

    received = from_status(status_pb2.Status.FromString(to_status(sent).SerializeToString()))

    assert received is not None
    assert (received.reason, received.message, received.metadata) == (sent.reason, sent.message, sent.metadata)
    assert (received.retry_after, received.violations) == (sent.retry_after, sent.violations)


@pytest.mark.parametrize(
    ("domain", "reason"), [("elsewhere.example", "QUEUE_FULL"), ("pingvas.studio", "FROM_TOMORROW")]
)
def test_status_of_another_program_is_no_error_of_ours(domain: str, reason: str) -> None:
    status = status_pb2.Status(code=8, message="no")
    status.details.add().Pack(error_details_pb2.ErrorInfo(domain=domain, reason=reason))

    assert from_status(status) is None


def test_metadata_of_one_error_is_not_shared_with_the_next() -> None:
    first = ServiceError(Reason.INTERNAL, "one")
    first.metadata["error_id"] = "1"

    assert ServiceError(Reason.INTERNAL, "two").metadata == {}
