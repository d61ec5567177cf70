"""Text that PostgreSQL can't hold, as clients of the JSON API send it (intelowlproject/IntelOwl#138, pietermartin/sqlg#536)."""

from typing import Any

import pytest

from svc_common.errors import Reason, ServiceError
from tests.e2e.stage import Person, Stage
from tests.harness_envoy import json_refusal

SMALL = {"width_px": 64, "height_px": 64, "step_count": 2}
TEXT_TO_IMAGE = "/api/v1/generate/text-to-image"
CREATE = "/api/v1/generation/create"


@pytest.fixture(scope="module")
def person(studio: Stage) -> Person:
    return studio.person("free")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (TEXT_TO_IMAGE, {"prompt": "a\0b"}, "prompt"),
        (TEXT_TO_IMAGE, {"prompt": "a", "negative_prompt": "\0"}, "negative_prompt"),
        (TEXT_TO_IMAGE, {"prompt": "a", "model_id": "tiny\0"}, "model_id"),
        (CREATE, {"request_id": "ab\0c", "text_to_image": {"prompt": "a", **SMALL}}, "request_id"),
        (CREATE, {"text_to_image": {"prompt": "a\0", **SMALL}}, "text_to_image.prompt"),
        ("/api/v1/auth/login", {"email": "a\0@example.com", "password": "x" * 12}, "email"),
        ("/api/v1/auth/register", {"email": "a@example.com", "password": "x\0" * 12}, "password"),
    ],
)
def test_nul_in_json_is_refused_before_anything_is_held(
    person: Person, path: str, body: dict[str, Any], field: str
) -> None:
    status, refusal = refused(person, path, body)

    assert status == 400
    assert refusal.reason is Reason.INVALID_FIELD
    named = [each.description for each in refusal.violations if each.field.endswith(field)]
    assert any("U+0000" in description for description in named)
    assert (person.balance().available, person.balance().held) == ("1000000.000", "0.000")


@pytest.mark.parametrize("target", ["/api/v1/models?page_token=a%00b", "/api/v1/models/a%00b", "/api/v1/jobs/%00"])
def test_nul_in_an_address_is_refused(person: Person, target: str) -> None:
    answer = person.stage.http.get(target, headers=dict(person.metadata))
    assert answer.status_code == 400, answer.text


def refused(person: Person, path: str, body: dict[str, Any]) -> tuple[int, ServiceError]:
    return json_refusal(person.stage.http.post(path, json=body, headers=dict(person.metadata)))
