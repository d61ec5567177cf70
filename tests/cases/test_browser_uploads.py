"""Uploads as a browser makes them: asked for by a preflight, put from another origin, and used as a source.

Reported of others as floci-io/floci#2412 and gaul/s3proxy#411. What is sent is what the Fetch standard has a browser send.
"""

import io
from typing import Any

import httpx
import pytest
from PIL import Image

from svc_common.errors import Reason
from tests.e2e.stage import Person, Stage
from tests.harness_envoy import json_refusal

ORIGIN = "http://localhost:3000"


@pytest.fixture(scope="module")
def person(studio: Stage) -> Person:
    return studio.person("enterprise")


def picture() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(content, "PNG")
    return content.getvalue()


def opened(studio: Stage, person: Person, content: bytes) -> Any:
    body = {"content_type": "image/png", "size_bytes": len(content)}
    answer = studio.http.post("/api/v1/uploads", json=body, headers=dict(person.metadata))
    answer.raise_for_status()
    return answer.json()


def preflight(url: str, verb: str, headers: str) -> httpx.Response:
    asked = {"access-control-request-method": verb, "access-control-request-headers": headers}
    return httpx.options(url, headers={"origin": ORIGIN, **asked})


def put(url: str, content: bytes, **headers: str) -> httpx.Response:
    return httpx.put(url, content=content, headers={"origin": ORIGIN, "content-type": "image/png", **headers})


def test_picture_put_by_a_browser_is_drawn_from(studio: Stage, person: Person) -> None:
    content = picture()
    upload = opened(studio, person, content)
    allowed = preflight(upload["put_url"], "PUT", "content-type")
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "PUT" in allowed.headers["access-control-allow-methods"]
    assert "content-type" in allowed.headers["access-control-allow-headers"]
    answer = put(upload["put_url"], content)
    assert answer.status_code == 200, answer.text
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    body = {"prompt": "a boat", "source": {"upload_id": upload["upload_id"]}, "strength": 0.5, "step_count": 2}
    job = studio.http.post("/api/v1/generate/image-to-image", json=body, headers=dict(person.metadata)).json()
    person.end_of(job["job_id"])
    (image,) = studio.http.get(f"/api/v1/jobs/{job['job_id']}", headers=dict(person.metadata)).json()["images"]
    drawn = httpx.get(image["url"], headers={"origin": ORIGIN})
    assert drawn.headers["access-control-allow-origin"] == ORIGIN
    assert drawn.content.startswith(b"\x89PNG")


def test_upload_of_another_size_or_type_is_refused(studio: Stage, person: Person) -> None:
    content = picture()
    upload = opened(studio, person, content)
    assert put(upload["put_url"], content + b"x").status_code == 403
    assert put(upload["put_url"], content, **{"content-type": "text/html"}).status_code == 403


def test_token_that_comes_along_does_no_harm(studio: Stage, person: Person) -> None:
    content = picture()
    upload = opened(studio, person, content)
    assert put(upload["put_url"], content, **dict(person.metadata)).status_code == 200


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/objects/"),
        ("GET", "/objects/pingvas"),
        ("GET", "/objects/pingvas?X-Amz-Signature=0"),
        ("GET", "/objects/pingvas/?list-type=2&X-Amz-Signature=0"),
        ("GET", "/objects/pingvas-models/?X-Amz-Signature=0"),
        ("GET", "/objects/pingvas-models/pingvas-tiny/manifest.json?X-Amz-Signature=0"),
        ("GET", "/objects/pingvas/users/{id}/uploads/{id}"),
        ("PUT", "/objects/pingvas/users/{id}/uploads/{id}"),
        ("DELETE", "/objects/pingvas/users/{id}/uploads/{id}?X-Amz-Signature=0"),
        ("POST", "/objects/pingvas/users/{id}/uploads/{id}?X-Amz-Signature=0"),
    ],
)
def test_nothing_but_signed_objects_is_reached(studio: Stage, verb: str, path: str) -> None:
    address = path.replace("{id}", "01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a11")
    status, refusal = json_refusal(studio.http.request(verb, address))
    assert (status, refusal.reason) == (404, Reason.METHOD_NOT_FOUND)


def test_signature_of_another_object_is_refused(studio: Stage, person: Person) -> None:
    first, second = (opened(studio, person, picture())["put_url"] for _ in range(2))
    forged = first.partition("?")[0] + "?" + second.partition("?")[2]
    assert put(forged, picture()).status_code == 403
