"""Pictures by the API's own addresses, through the edge and the bridge: fetched whole, in part, not again, and uploaded."""

import hashlib
import io
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from svc_common.clock import new_id
from svc_common.errors import Reason
from tests.e2e.stage import FleetPlan, Person, Stage, running_stage
from tests.harness_envoy import json_refusal

UPLOAD = "/api/v1/images:upload"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("stage"), FleetPlan()) as running:
        yield running


@pytest.fixture(scope="module")
def person(stage: Stage) -> Person:
    return stage.person()


@pytest.fixture(scope="module")
def image(stage: Stage, person: Person) -> dict[str, Any]:
    job = person.end_of(person.create("a picture to be fetched").job_id)
    answer = stage.http.get(f"/api/v1/images/{job.images[0].image_id}", headers=dict(person.metadata))
    return dict(answer.raise_for_status().json())


def key_of(stage: Stage, person: Person, *scopes: str) -> dict[str, str]:
    # As if the link of the mail had been opened: keys are for verified addresses.
    verify = "UPDATE users.users SET email_verified = true WHERE account_id = $1"
    stage.administer(lambda connection: connection.execute(verify, person.account_id))
    wanted = {"name": "a program", "scopes": [f"SCOPE_{scope.upper()}" for scope in scopes]}
    answer = stage.http.post("/api/v1/users/me/api-keys", json=wanted, headers=dict(person.metadata))
    return {"x-api-key": answer.raise_for_status().json()["key"]}


def fetched(stage: Stage, path: str, person: Person, **headers: str) -> httpx.Response:
    return stage.http.get(f"/api/v1/{path}", headers={**dict(person.metadata), **headers})


def png(width: int = 64, height: int = 64) -> bytes:
    content = io.BytesIO()
    Image.effect_noise((width, height), 80).save(content, "PNG")
    return content.getvalue()


def test_picture_is_fetched_whole_and_may_be_kept(stage: Stage, person: Person, image: dict[str, Any]) -> None:
    stored = httpx.get(image["content_url"]).content
    answer = fetched(stage, f"images/{image['image_id']}/content", person)
    assert (answer.status_code, answer.content) == (200, stored)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(len(stored))
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert f'filename="{image["image_id"]}.png"' in answer.headers["content-disposition"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    small = fetched(stage, f"images/{image['image_id']}/thumbnail", person)
    assert (small.headers["content-type"], Image.open(io.BytesIO(small.content)).format) == ("image/webp", "WEBP")


def test_picture_that_the_caller_has_is_not_sent_again(stage: Stage, person: Person, image: dict[str, Any]) -> None:
    path = f"images/{image['image_id']}/content"
    etag = fetched(stage, path, person).headers["etag"]
    answer = fetched(stage, path, person, **{"if-none-match": etag})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    head = stage.http.head(f"/api/v1/{path}", headers=dict(person.metadata))
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", etag)
    assert int(head.headers["content-length"]) > 0


@pytest.mark.parametrize(
    ("wanted", "part"), [("bytes=0-3", slice(0, 4)), ("bytes=10-", slice(10, None)), ("bytes=-7", slice(-7, None))]
)
def test_part_of_a_picture_is_what_was_asked_for(
    stage: Stage, person: Person, image: dict[str, Any], wanted: str, part: slice
) -> None:
    path = f"images/{image['image_id']}/content"
    whole = fetched(stage, path, person).content
    answer = fetched(stage, path, person, range=wanted)
    assert (answer.status_code, answer.content) == (206, whole[part])
    assert answer.headers["content-range"].endswith(f"/{len(whole)}")
    beyond = fetched(stage, path, person, range=f"bytes={len(whole)}-")
    assert beyond.status_code == 416


@pytest.mark.parametrize("kind", ["content", "thumbnail"])
def test_picture_is_its_owner_s_alone(stage: Stage, person: Person, image: dict[str, Any], kind: str) -> None:
    path = f"images/{image['image_id']}/{kind}"
    status, refusal = json_refusal(fetched(stage, path, stage.person()))
    assert (status, refusal.reason) == (404, Reason.IMAGE_NOT_FOUND)
    status, refusal = json_refusal(stage.http.get(f"/api/v1/{path}"))
    assert (status, refusal.reason) == (401, Reason.CREDENTIALS_MISSING)
    assert json_refusal(fetched(stage, f"images/{new_id()}/{kind}", person))[0] == 404
    assert json_refusal(fetched(stage, f"images/no-id/{kind}", person))[0] == 400
    by_key = stage.http.get(f"/api/v1/{path}", headers=key_of(stage, person, "read"))
    assert by_key.status_code == 200


def test_shared_picture_is_shown_by_its_link_until_that_is_taken_back(
    stage: Stage, person: Person, image: dict[str, Any]
) -> None:
    own = f"/api/v1/images/{image['image_id']}/share"
    link = stage.http.post(own, json={"view_limit": 3}, headers=dict(person.metadata)).raise_for_status().json()
    path = f"/api/v1/shared/{link['share_token']}/content"
    answer = stage.http.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.headers["cache-control"] == "private, max-age=60"
    # The bytes behind a link without its recipe hold none.
    assert b"a picture to be fetched" not in answer.content
    assert [stage.http.get(path).status_code for _ in range(3)] == [200, 200, 404]
    again = stage.http.post(own, json={}, headers=dict(person.metadata)).raise_for_status().json()
    stage.http.delete(own, headers=dict(person.metadata)).raise_for_status()
    status, refusal = json_refusal(stage.http.get(f"/api/v1/shared/{again['share_token']}/content"))
    assert (status, refusal.reason) == (404, Reason.SHARE_LINK_NOT_FOUND)


def as_body(stage: Stage, content: bytes, headers: dict[str, str], kind: str = "image/png") -> httpx.Response:
    return stage.http.post(UPLOAD, content=content, headers={**headers, "content-type": kind})


def as_form(stage: Stage, content: bytes, headers: dict[str, str], kind: str = "image/png") -> httpx.Response:
    return stage.http.post(UPLOAD, files={"file": ("picture.png", content, kind)}, headers=headers)


@pytest.mark.parametrize("send", [as_body, as_form])
def test_uploaded_picture_is_drawn_from(stage: Stage, person: Person, send: Any) -> None:
    for headers in (dict(person.metadata), key_of(stage, person, "generate", "gallery")):
        upload = send(stage, png(), headers).raise_for_status().json()
        assert (upload["put_url"], "put_expire_time" in upload) == ("", False)
        body = {"prompt": "a boat", "source": {"upload_id": upload["upload_id"]}, "strength": 0.5, "step_count": 2}
        job = stage.http.post("/api/v1/generate/image-to-image", json=body, headers=dict(person.metadata))
        assert len(person.end_of(job.raise_for_status().json()["job_id"]).images) == 1


@pytest.mark.parametrize("send", [as_body, as_form])
def test_largest_picture_arrives_byte_for_byte(stage: Stage, person: Person, send: Any) -> None:
    content = png(3200, 3200)[: 32 << 20].ljust(32 << 20, b"\0")
    upload = send(stage, content, dict(person.metadata)).raise_for_status().json()
    (kept,) = [path for key, path in stage.objects().items() if upload["upload_id"] in key]
    assert hashlib.sha256(kept.read_bytes()).digest() == hashlib.sha256(content).digest()
    status, refusal = json_refusal(send(stage, content + b"\0" * (128 << 10), dict(person.metadata)))
    assert (status, refusal.reason) in ((400, Reason.INVALID_FIELD), (413, Reason.REQUEST_TOO_LARGE))


def test_upload_that_cannot_be_one_is_refused(stage: Stage, person: Person) -> None:
    mine = dict(person.metadata)
    for answer in (as_body(stage, b"<svg/>", mine, "image/svg+xml"), as_form(stage, png(), mine, "application/zip")):
        status, refusal = json_refusal(answer)
        assert (status, refusal.reason, refusal.violations[0].field) == (400, Reason.INVALID_FIELD, "content_type")
    assert json_refusal(as_body(stage, b"", mine))[1].violations[0].field == "size_bytes"
    two = stage.http.post(UPLOAD, files=[("file", ("a", png())), ("file", ("b", png()))], headers=mine)
    other = stage.http.post(UPLOAD, files={"picture": ("a.png", png(), "image/png")}, headers=mine)
    assert [json_refusal(answer)[1].reason for answer in (two, other)] == [
        Reason.REQUEST_MALFORMED,
        Reason.INVALID_FIELD,
    ]
    chunked = stage.http.post(UPLOAD, content=iter([png()]), headers={**mine, "content-type": "image/png"})
    assert json_refusal(chunked)[1].reason is Reason.REQUEST_MALFORMED


def test_stranger_is_refused_before_the_picture_is_sent(stage: Stage) -> None:
    assert json_refusal(as_body(stage, png(), {}))[1].reason is Reason.CREDENTIALS_MISSING
    host, _, port = stage.fleet.http.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = f"POST {UPLOAD} HTTP/1.1\r\nhost: {host}\r\ncontent-type: image/png\r\ncontent-length: 1000000\r\n"
        connection.sendall(f"{head}authorization: Bearer nobody\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 401")


def test_caller_who_leaves_in_the_middle_leaves_no_defect(stage: Stage, person: Person) -> None:
    host, _, port = stage.fleet.http.removeprefix("http://").rpartition(":")
    authorization = dict(person.metadata)["authorization"]
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = f"POST {UPLOAD} HTTP/1.1\r\nhost: {host}\r\ncontent-type: image/png\r\ncontent-length: 1000000\r\n"
        connection.sendall(f"{head}authorization: {authorization}\r\n\r\n".encode() + b"x" * 1000)
    assert as_body(stage, png(), dict(person.metadata)).status_code == 200
