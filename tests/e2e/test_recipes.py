"""Recipes by HTTP, through Envoy: Base64 in, a job out that the next call takes as it is."""

import base64
from typing import Any

import httpx

from tests.e2e.stage import Person, Stage
from tests.factories.pictures import picture_bytes

MOST_BYTES = 3_000_000


def read(calm: Stage, person: Person, picture: bytes) -> httpx.Response:
    body = {"picture": base64.b64encode(picture).decode()}
    return calm.http.post("/api/v1/recipes:read", json=body, headers=dict(person.metadata))


def drawn(person: Person, **fields: Any) -> bytes:
    image = person.end_of(person.create("a heron „blue“ 🚤", **fields).job_id).images[0]
    return httpx.get(image.url).raise_for_status().content


def test_picture_is_made_again_by_two_calls_of_http(calm: Stage) -> None:
    person = calm.person()
    picture = drawn(person, seed=2**53 - 1, width_px=128, height_px=64, step_count=3)

    recipe = read(calm, person, picture).raise_for_status().json()

    assert (recipe["origin"], recipe["model_match"]) == ("RECIPE_ORIGIN_PINGVAS", "MODEL_MATCH_SAME_FILES")
    assert recipe["text_to_image"]["seed"] == "9007199254740991"
    assert not recipe.get("remarks")
    answer = calm.http.post(
        "/api/v1/generate/text-to-image", json=recipe["text_to_image"], headers=dict(person.metadata)
    )
    again = person.end_of(answer.raise_for_status().json()["job_id"]).images[0]
    assert httpx.get(again.url).content == picture


def test_largest_picture_passes_the_edge_and_a_larger_one_is_refused_with_what_to_do(calm: Stage) -> None:
    person = calm.person()
    picture = drawn(person, step_count=1)
    assert read(calm, person, picture + b"\0" * (MOST_BYTES - len(picture))).status_code == 200
    refusal = read(calm, person, picture + b"\0" * (MOST_BYTES + 1 - len(picture)))
    assert (refusal.status_code, "picture" in refusal.text) == (400, True)


def test_picture_without_a_recipe_is_a_client_error_with_its_cause(calm: Stage) -> None:
    refusal = read(calm, calm.person(), picture_bytes())
    (info,) = (each for each in refusal.json()["details"] if each["@type"].endswith("ErrorInfo"))
    assert (refusal.status_code, info["reason"], info["metadata"]) == (400, "RECIPE_INVALID", {"cause": "none"})


def test_queue_is_cleared_by_http_and_nobody_elses(calm: Stage) -> None:
    person, other = calm.person(), calm.person()
    with calm.busy_workers():
        jobs, foreign = [person.create("a heron") for _ in range(3)], other.create("a heron")
        cleared = calm.http.post("/api/v1/queue/clear", json={}, headers=dict(person.metadata)).raise_for_status()
        assert cleared.json()["cancelled_count"] == 3
        assert {person.get(job.job_id).state for job in jobs} == {6}
        assert other.get(foreign.job_id).state == 1
    other.end_of(foreign.job_id)
    assert calm.audit() == []
