"""What bad input gets from the running fleet: a precise refusal in JSON and gRPC alike, with nothing lost or charged."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from pingvas.generation.v1 import generation_service_pb2, job_pb2

from svc_common.clock import new_id
from svc_common.errors import Reason, ServiceError
from tests.contract import tokens
from tests.e2e.invariants import assert_invariants
from tests.e2e.stage import Person, Stage, answer_or_refusal, create_request, refusal_of, until
from tests.harness_envoy import json_refusal

TEXT_TO_IMAGE = "/api/v1/generate/text-to-image"


@pytest.fixture(scope="module")
def person(calm: Stage) -> Person:
    """Somebody on the free tier, whose balance and jobs no test of this module may change."""
    return calm.person("free")


@pytest.fixture(autouse=True)
def nothing_lost_or_charged(calm: Stage, person: Person) -> Iterator[None]:
    """Compares the account before and after each refusal."""
    yield
    balance = person.balance()
    assert (balance.available, balance.held) == ("1000000.000", "0.000")
    assert calm.value("SELECT count(*) FROM generation.jobs WHERE account_id = $1", person.account_id) == 0


def refused_in_json(person: Person, fields: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
    """Submits in JSON and returns HTTP status and refusal."""
    head = headers if headers is not None else dict(person.metadata)
    return json_refusal(person.stage.http.post(TEXT_TO_IMAGE, json=fields, headers=head))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n\t"}, "prompt"),
        ({"prompt": "x" * 2001}, "prompt"),
        ({"negative_prompt": "x" * 2001}, "negative_prompt"),
        ({"width_px": 100}, "width_px"),
        ({"width_px": 56}, "width_px"),
        ({"height_px": 4104}, "height_px"),
        ({"height_px": -64}, "height_px"),
        ({"step_count": 151}, "step_count"),
        ({"step_count": -1}, "step_count"),
        ({"guidance_scale": 30.5}, "guidance_scale"),
        ({"guidance_scale": -0.5}, "guidance_scale"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**53}, "seed"),
        ({"image_count": 9}, "image_count"),
        ({"scheduler": "x" * 51}, "scheduler"),
        ({"scheduler": "no-such-scheduler"}, "scheduler"),
        ({"model_id": "x" * 101}, "model_id"),
    ],
)
def test_invalid_field_is_named(person: Person, fields: dict[str, Any], field: str) -> None:
    operation = {"prompt": "a good one", **fields}
    by_grpc = refusal_of(lambda: person.create(**operation))
    spoken = {name: "NaN" if value != value else value for name, value in operation.items()}  # noqa: PLR0124 - NaN
    status, by_json = refused_in_json(person, spoken)
    assert status == 400
    for refusal in (by_grpc, by_json):
        assert refusal.reason == Reason.INVALID_FIELD
        assert {violation.field for violation in refusal.violations} == {f"text_to_image.{field}"}
        assert all(violation.description for violation in refusal.violations)


def test_every_invalid_field_is_named_at_once(person: Person) -> None:
    _, refusal = refused_in_json(person, {"prompt": "", "width_px": 5, "step_count": 1000})
    assert {violation.field for violation in refusal.violations} == {
        "text_to_image.prompt",
        "text_to_image.width_px",
        "text_to_image.step_count",
    }


@pytest.mark.parametrize(
    ("fields", "field", "limit"),
    [
        ({"width_px": 776}, "width_px", "768"),
        ({"height_px": 1024}, "height_px", "768"),
        ({"step_count": 31}, "step_count", "30"),
        ({"image_count": 2}, "image_count", "1"),
    ],
)
def test_field_above_the_tier_is_named_with_its_limit(
    person: Person, fields: dict[str, Any], field: str, limit: str
) -> None:
    by_grpc = refusal_of(lambda: person.create("too much", **fields))
    status, by_json = refused_in_json(person, {"prompt": "too much", **fields})
    assert status == 400
    for refusal in (by_grpc, by_json):
        assert refusal.reason == Reason.TIER_LIMIT_EXCEEDED
        assert refusal.metadata == {"tier": "free", "limit": limit, "field": f"text_to_image.{field}"}
        assert [violation.field for violation in refusal.violations] == [f"text_to_image.{field}"]


def test_unknown_model_has_a_reason_of_its_own(person: Person) -> None:
    by_grpc = refusal_of(lambda: person.create("a ghost", model_id="sdxl-2"))
    status, by_json = refused_in_json(person, {"prompt": "a ghost", "model_id": "sdxl-2"})
    assert status == 404
    for refusal in (by_grpc, by_json):
        assert (refusal.reason, refusal.metadata) == (Reason.MODEL_NOT_FOUND, {"model_id": "sdxl-2"})


def test_model_that_the_tier_does_not_reach_has_a_reason_of_its_own(calm: Stage, person: Person) -> None:
    calm.rows(
        """INSERT INTO models.model_revisions
        SELECT (jsonb_populate_record(m, '{"model_id": "flux-dev", "is_default": false, "family": "flux",
                                          "minimum_tier": "pro"}')).*
        FROM models.model_revisions m WHERE is_default ON CONFLICT DO NOTHING"""
    )
    submit = {"prompt": "too fine", "model_id": "flux-dev"}
    until(lambda: refused_in_json(person, submit)[1].reason != Reason.MODEL_NOT_FOUND, "the catalogue to know it")
    status, by_json = refused_in_json(person, submit)
    by_grpc = refusal_of(lambda: person.create("too fine", model_id="flux-dev"))
    assert status == 403
    for refusal in (by_grpc, by_json):
        assert refusal.reason == Reason.MODEL_NOT_IN_TIER
        assert refusal.metadata == {"model_id": "flux-dev", "tier": "free", "minimum_tier": "pro"}


def test_too_few_credits_are_told_with_balance_and_price(calm: Stage) -> None:
    poor = calm.person("free", has_credits=0)
    quote = generation_service_pb2.QuoteJobRequest(text_to_image=create_request("gold").text_to_image)
    price = poor.generation.QuoteJob(quote, timeout=10, metadata=poor.metadata).credits
    by_grpc = refusal_of(lambda: poor.create("gold"))
    fields = {"prompt": "gold", "width_px": 64, "height_px": 64, "step_count": 4}
    status, by_json = refused_in_json(poor, fields)
    assert status == 402
    for refusal in (by_grpc, by_json):
        assert refusal.reason == Reason.INSUFFICIENT_CREDITS
        assert refusal.metadata == {"balance": "0.000", "price": price}
    assert poor.balance().held == "0.000"


def test_foreign_and_absent_jobs_look_the_same(calm: Stage, person: Person) -> None:
    other = calm.person()
    foreign = other.end_of(other.create("not yours").job_id)
    for job_id in (foreign.job_id, str(new_id())):
        for call in (person.get, person.cancel, lambda job_id: list(person.watch(job_id))):
            refusal = refusal_of(lambda call=call, job_id=job_id: call(job_id))
            assert (refusal.reason, refusal.metadata) == (Reason.JOB_NOT_FOUND, {"job_id": job_id})
        answer = calm.http.get(f"/api/v1/jobs/{job_id}", headers=dict(person.metadata))
        assert json_refusal(answer)[0] == 404
    image_id = foreign.images[0].image_id
    answer = calm.http.get(f"/api/v1/images/{image_id}", headers=dict(person.metadata))
    status, refusal = json_refusal(answer)
    assert (status, refusal.reason) == (404, Reason.IMAGE_NOT_FOUND)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/v1/jobs/not-an-id", "job_id"),
        ("/api/v1/queue/items?page_size=201", "page_size"),
        ("/api/v1/queue/items?states=0", "states[0]"),
        ("/api/v1/images/not-an-id", "image_id"),
    ],
)
def test_invalid_field_of_a_reading_call_is_named(calm: Stage, person: Person, path: str, field: str) -> None:
    status, refusal = json_refusal(calm.http.get(path, headers=dict(person.metadata)))
    assert (status, refusal.reason) == (400, Reason.INVALID_FIELD)
    assert [violation.field for violation in refusal.violations] == [field]


def test_made_up_page_token_is_refused(calm: Stage, person: Person) -> None:
    answer = calm.http.get("/api/v1/queue/items?page_token=made-up", headers=dict(person.metadata))
    status, refusal = json_refusal(answer)
    assert (status, refusal.reason) == (400, Reason.PAGE_TOKEN_INVALID)


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (b'{"prompt": "a boat", ', 400, Reason.REQUEST_MALFORMED),
        (b'{"prompt": 5}', 400, Reason.REQUEST_MALFORMED),
        (b"not JSON at all", 400, Reason.REQUEST_MALFORMED),
        (json.dumps({"prompt": "x" * (4 << 20)}).encode(), 413, Reason.REQUEST_TOO_LARGE),
    ],
    ids=["cut off", "wrong type", "no JSON", "over 4 MiB"],
)
def test_body_that_cannot_be_read_is_refused_in_json(
    calm: Stage, person: Person, content: bytes, status: int, reason: Reason
) -> None:
    headers = {**dict(person.metadata), "content-type": "application/json"}
    answered, refusal = json_refusal(calm.http.post(TEXT_TO_IMAGE, content=content, headers=headers))
    assert (answered, refusal.reason) == (status, reason)


def test_unknown_query_parameter_is_refused_by_name(calm: Stage, person: Person) -> None:
    answer = calm.http.post(f"{TEXT_TO_IMAGE}?colour=blue", json={"prompt": "a boat"}, headers=dict(person.metadata))
    status, refusal = json_refusal(answer)
    assert (status, refusal.reason) == (400, Reason.REQUEST_MALFORMED)
    assert "colour" in refusal.message


def test_key_that_is_too_long_is_refused(person: Person) -> None:
    by_field = refusal_of(lambda: person.create("a key", request_id="k" * 101))
    assert [violation.field for violation in by_field.violations] == ["request_id"]
    head = {**dict(person.metadata), "idempotency-key": "k" * 101}
    status, by_header = refused_in_json(person, {"prompt": "a key"}, head)
    assert (status, by_header.reason) == (400, Reason.INVALID_FIELD)
    assert "idempotency-key" in by_header.message


def test_request_without_an_operation_is_refused(person: Person) -> None:
    empty = generation_service_pb2.CreateJobRequest()
    refusal = refusal_of(lambda: person.generation.CreateJob(empty, timeout=10, metadata=person.metadata))
    assert refusal.reason == Reason.INVALID_FIELD


@dataclass(frozen=True, slots=True)
class Keys:
    """The fleet's own keys, in the form that the makers of bad tokens take."""

    user_key_file: Path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (tokens.expired, Reason.TOKEN_EXPIRED),
        (tokens.of_other_audience, Reason.TOKEN_INVALID),
        (tokens.of_other_issuer, Reason.TOKEN_INVALID),
        (tokens.unsigned, Reason.TOKEN_INVALID),
        (tokens.signed_with_public_key, Reason.TOKEN_INVALID),
        (tokens.tampered, Reason.TOKEN_INVALID),
        (tokens.without_expiry, Reason.TOKEN_INVALID),
        (None, Reason.CREDENTIALS_MISSING),
    ],
)
def test_bad_token_is_refused_by_edge_and_service_alike(
    calm: Stage, person: Person, make: Callable[[Any], str] | None, reason: Reason
) -> None:
    keys = Keys(calm.fleet.secrets.user_signing_key)
    headers = dict(tokens.bearer(make(keys))) if make else {}
    status, by_edge = refused_in_json(person, {"prompt": "nobody's"}, headers)
    assert (status, by_edge.reason) == (401, reason)
    # Past the edge, as somebody inside the cluster could go, the service itself refuses.
    with grpc.insecure_channel(f"127.0.0.1:{calm.fleet.layout.ports.public('generation')}") as channel:
        method = channel.unary_unary(
            "/pingvas.generation.v1.GenerationService/CreateJob",
            generation_service_pb2.CreateJobRequest.SerializeToString,
            job_pb2.Job.FromString,
        )
        metadata = tuple(headers.items())
        by_service = answer_or_refusal(lambda: method(create_request("nobody's"), timeout=10, metadata=metadata))
    assert isinstance(by_service, ServiceError)
    assert by_service.reason in (reason, Reason.TOKEN_INVALID)


def test_internal_methods_do_not_exist_at_the_edge(calm: Stage, person: Person) -> None:
    answer = calm.http.post(
        "/pingvas.payment.v1.LedgerService/GrantCredits", headers={**dict(person.metadata)}, content=b""
    )
    assert json_refusal(answer)[0] == 404


def test_refusals_of_a_stranger_reveal_nothing(calm: Stage) -> None:
    """Without a token nothing is said of what exists."""
    with httpx.Client(base_url=calm.fleet.http) as anybody:
        for path in ("/api/v1/jobs/" + str(new_id()), "/api/v1/images", "/api/v1/credits/balance"):
            status, refusal = json_refusal(anybody.get(path))
            assert (status, refusal.reason) == (401, Reason.CREDENTIALS_MISSING)


def test_invariants_hold_after_all_refusals(calm: Stage) -> None:
    assert_invariants(calm)
